import type { HostInventory } from '../hypervisor-driver.js';
import type { CpuSets } from './dedicated-cpus.js';

export interface QemuDriverOptions {
  /** Folder for guests; whatever lies in it survives the agent and the host. */
  readonly stateDir: string;
  readonly cloudId: string;
  readonly qemu?: string;
  /** Only this accelerator is tried; otherwise KVM, then TCG. */
  readonly accel?: 'kvm' | 'tcg';
  /** CPU models of QEMU, best first: guests get the first of them that the host can run whole; none: as good as it has. */
  readonly cpuModels?: readonly string[];
  /** Which processors of the machine are for whom; without, all guests share them all. */
  readonly cpus?: CpuSets;
  /** Folder for the disks of guests, on storage that other hosts have in the same place. */
  readonly sharedDisks?: string;
  /** Address where other hosts reach this one to send it guests; without it they come from this machine only. */
  readonly migrationAddress?: string;
  /** Overrides what the host has, where several agents share one machine. */
  readonly inventory?: Partial<HostInventory>;
  /** Milliseconds until a silent QEMU counts as not answering. */
  readonly answerTimeout?: number;
  /** Milliseconds a guest agent gets for each answer when it freezes, thaws, or shuts its guest down. */
  readonly agentPatience?: number;
  /** Milliseconds a guest gets to follow a soft reboot. */
  readonly softRebootPatience?: number;
  /** Milliseconds a running guest gets to let go of a device. */
  readonly unplugPatience?: number;
  /** Milliseconds that the way of a guest to another host may carry nothing. */
  readonly migrationSilence?: number;
  /** Milliseconds that each step may take while a guest that moves stands still. */
  readonly migrationStandstill?: number;
}
