import type { PowerState } from '@omnivisor/contracts';
import type { GuestMark, HostInventory } from '../hypervisor-driver.js';

/** A guest as the fake machine holds it, with what it takes of the machine's inventory. */
export interface FakeGuest extends HostInventory {
  readonly mark: GuestMark;
  readonly name: string;
  readonly power: PowerState;
  /** Ports of its network interfaces. */
  readonly nics: readonly string[];
  /** The newest text of its first serial port. */
  readonly console: string;
}
