import { type FlavorSnapshot, hardwareWishesOf } from '@omnivisor/contracts';
import { flavorText, isFlavorText } from '../../common/flavor-text.js';
import { orTakeBack } from '../../common/take-back.js';
import { type GuestNic, type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import { fromXapi } from '../transport/xapi-error.js';
import { refuseAborted } from './aborted.js';
import type { Devices } from './devices.js';
import { type GuestState, type LocalDisk, neededDisks, wishesIn } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import { type Frame, type Hardware, hardwareOf, ownHardware } from './hardware.js';
import type { Host } from './host.js';
import type { LocalDisks } from './local-disks.js';
import type { Making } from './making.js';
import type { Power } from './power.js';
import { configDriveFrom, diskFrom, ephemeralOf, type Storage, swapOf } from './storage.js';

const GIB = 2 ** 30;
/** Of a guest that is not rescued. */
const OWN = { phase: 'settled', rescue: null, rescueHardware: null } as const;

/**
 * Changes what guests are made of. New disks are made beside the old ones, the new state is written in one step, and only
 * then the VM is arranged by it: after a crash, whatever comes next goes on from the state.
 */
export class Changing {
  constructor(
    private readonly guests: Guests,
    private readonly devices: Devices,
    private readonly storage: Storage,
    private readonly disks: LocalDisks,
    private readonly power: Power,
    private readonly host: Host,
    private readonly making: Making,
    private readonly stateDir: string,
  ) {}

  /** The state becomes this one, and the VM, which is off, follows it. */
  private async become(guest: Guest, state: GuestState): Promise<Guest> {
    const { guests, devices } = this;
    const next = await guests.write(guest, state);
    await devices.arrange(next);
    await this.disks.remove(guest, neededDisks(state));
    return guests.again(next);
  }

  async rebuild(guest: Guest, spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { state } = guest;
    const { mark } = spec;
    if (state.cloudId !== mark.cloudId || state.attempt !== mark.attempt || state.build > mark.build)
      throw new HypervisorError('fault', 'another attempt or a newer build of the server is on this host');
    if (state.build === mark.build) return this.making.startIfWanted(guest);
    this.refuseUnlessSettled(guest, 'rebuilt');
    refuseAborted(signal);
    const hardware = hardwareOf(this.making.machine(spec, await this.making.frame()));
    const wishes = hardwareWishesOf(spec.image, spec.flavor);
    const plans = await this.disks.plansFor(spec, signal);
    const nics = await this.devices.plan(spec.nics);
    const disks = await this.disks.makeBeside(guest, plans, signal);
    await this.power.cut(guest.ref);
    const start = spec.powerOn ? 'rebuild' : null;
    const next = await this.become(guest, { ...state, build: mark.build, disks, start, hardware, wishes });
    await this.devices.arrangeNics(next.ref, nics);
    await this.making.startIfWanted(next);
  }

  async rescue(guest: Guest, spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { state } = guest;
    if (state.phase === 'rescued') return this.orTakeBack(guest, () => this.making.startIfWanted(guest));
    this.refuseUnlessSettled(guest, 'rescued');
    refuseAborted(signal);
    const frame = await this.making.frame();
    this.making.machine(spec, frame);
    const rescueHardware = this.rescueHardware(guest, spec, frame);
    const { root, config } = await this.rescuePlans(spec, signal);
    const nics = await this.devices.plan(spec.nics);
    const rescue = await this.disks.makeBeside(guest, [root, ...(config ? [config] : [])], signal);
    await this.power.cut(guest.ref);
    // What it is, for the time after.
    const hardware = ownHardware(guest);
    await this.orTakeBack(guest, async () => {
      const rescued = { ...state, phase: 'rescued', hardware, rescue, rescueHardware, start: 'rescue' } as const;
      const next = await this.become(guest, rescued);
      await this.devices.arrangeNics(next.ref, nics);
      refuseAborted(signal);
      await this.making.startIfWanted(next);
    });
  }

  private orTakeBack(guest: Guest, start: () => Promise<void>): Promise<void> {
    return orTakeBack(start, () => this.takeBack(guest), fromXapi);
  }

  private async takeBack(guest: Guest): Promise<void> {
    await this.power.cut(guest.ref);
    const now = await this.guests.again(guest);
    await this.become(now, { ...now.state, ...OWN, start: null });
  }

  /** The rescue image has what it asks for; of the rest the guest stays what it is. */
  private rescueHardware(guest: Guest, { image, flavor }: GuestSpec, frame: Frame): Hardware {
    const { properties, extraSpecs } = wishesIn(guest.state);
    const said = hardwareWishesOf(image, flavor).properties;
    const wishes = { properties: { ...properties, ...said }, extraSpecs };
    return this.making.reshaped(guest, wishes, guest.state.size.vcpus, frame);
  }

  private async rescuePlans({ disks, configDrive }: GuestSpec, signal: AbortSignal) {
    const root = await diskFrom('root', disks.root.source, disks.root.size, signal);
    return { root, config: configDrive ? configDriveFrom(configDrive) : null };
  }

  async unrescue(guest: Guest, nics: readonly GuestNic[]): Promise<void> {
    const { state } = guest;
    if (state.phase !== 'rescued') return state.start === 'unrescue' ? this.making.startIfWanted(guest) : undefined;
    const planned = await this.devices.plan(nics);
    await this.power.cut(guest.ref);
    const next = await this.become(guest, { ...state, ...OWN, start: 'unrescue' });
    await this.devices.arrangeNics(next.ref, planned);
    await this.making.startIfWanted(next);
  }

  /** @throws HypervisorError as `resize` does; nothing is changed */
  async checkResize(guest: Guest, flavor: FlavorSnapshot): Promise<void> {
    if (isResized(guest, flavor)) return;
    this.refuseUnlessSettled(guest, 'resized');
    await this.resized(guest, flavor);
  }

  private refuseUnlessSettled({ state }: Guest, what: string): void {
    if (state.phase !== 'settled')
      throw new HypervisorError('fault', `a guest that is ${state.phase} cannot be ${what}`);
  }

  /** What it is and what it becomes. @throws HypervisorError for a flavor that it cannot get */
  private async resized(guest: Guest, flavor: FlavorSnapshot) {
    const { state } = guest;
    const wishes = { ...wishesIn(state), extraSpecs: flavor.extraSpecs };
    const now = ownHardware(guest);
    const hardware = this.making.reshaped(guest, wishes, flavor.vcpus, await this.making.frame());
    // What is on its disk would not boot.
    if (hardware.firmware !== now.firmware)
      throw new HypervisorError('unsupported', `a resize does not change the firmware of a guest (${now.firmware})`);
    await this.refuseBeyondCapacity(flavor);
    await this.refuseShrinking(state, flavor);
    return { now, hardware, wishes };
  }

  async resize(guest: Guest, flavor: FlavorSnapshot, signal: AbortSignal): Promise<void> {
    const { state, record } = guest;
    const { vcpus, memory: memoryMib } = flavor;
    if (isResized(guest, flavor)) return this.arrangeIfOff(guest);
    this.refuseUnlessSettled(guest, 'resized');
    if (record.power_state !== 'Halted') throw new HypervisorError('fault', 'only a guest that is off can be resized');
    refuseAborted(signal);
    const { now, hardware, wishes } = await this.resized(guest, flavor);
    const disks = await this.grownDisks(guest, flavor, signal);
    await this.become(guest, {
      ...state,
      phase: 'resized',
      ...{ disks, hardware, wishes, size: { vcpus, memoryMib } },
      before: { size: state.size, disks: state.disks, flavor: flavorText(flavor), hardware: now, wishes: state.wishes },
    });
  }

  private async refuseBeyondCapacity(flavor: FlavorSnapshot): Promise<void> {
    const { memoryMib } = await this.host.inventory();
    if (flavor.memory > memoryMib) throw new HypervisorError('noResources', 'the host has less memory than the flavor');
  }

  private async refuseShrinking({ disks }: GuestState, flavor: FlavorSnapshot): Promise<void> {
    for (const [role, gib] of [
      ['root', flavor.disk],
      ['ephemeral', flavor.ephemeral],
    ] as const) {
      const disk = disks.find((d) => d.role === role);
      const kept = role === 'root' && gib === 0;
      if (disk && !kept && (await this.storage.size(disk.vdi)) > gib * GIB)
        throw new HypervisorError('unsupported', `the ${role} disk would become smaller, and lose what is on it`);
    }
  }

  /** Copies of the disks, as large as the flavor says; the ones they were copied from stay as they are. */
  private async grownDisks(guest: Guest, flavor: FlavorSnapshot, signal: AbortSignal): Promise<LocalDisk[]> {
    const { storage, stateDir } = this;
    const { state } = guest;
    const sizes: Readonly<Record<string, number>> = { root: flavor.disk * GIB, ephemeral: flavor.ephemeral * GIB };
    const disks: LocalDisk[] = [];
    try {
      for (const disk of state.disks) {
        if (disk.role === 'swap') continue;
        refuseAborted(signal);
        const vdi = await storage.clone(disk.vdi, signal);
        disks.push({ ...disk, vdi });
        await storage.grow(vdi, sizes[disk.role] ?? 0, signal);
      }
      const has = (role: string) => disks.some((disk) => disk.role === role);
      const missing = [
        ...(flavor.ephemeral > 0 && !has('ephemeral') ? [ephemeralOf(flavor.ephemeral, stateDir)] : []),
        ...(flavor.swap > 0 ? [swapOf(flavor.swap, stateDir)] : []),
      ];
      return [...disks, ...(await this.disks.makeBeside(guest, missing, signal))];
    } catch (error) {
      await this.disks.remove(guest, neededDisks(state));
      throw error;
    }
  }

  async confirmResize(guest: Guest): Promise<void> {
    const { state } = guest;
    if (state.phase !== 'resized') return;
    const next = { ...state, phase: 'settled' as const, before: null };
    await this.guests.write(guest, next);
    await this.disks.remove(guest, neededDisks(next));
  }

  async revertResize(guest: Guest): Promise<void> {
    const { state, record } = guest;
    if (state.phase !== 'resized' || !state.before) return this.arrangeIfOff(guest);
    if (record.power_state !== 'Halted') throw new HypervisorError('fault', 'only a guest that is off can be put back');
    const { size, disks, hardware, wishes } = state.before;
    await this.become(guest, { ...state, phase: 'settled', size, disks, hardware, wishes, before: null });
  }

  /** A change may have been cut off after its state was written. */
  private async arrangeIfOff(guest: Guest): Promise<void> {
    if (guest.record.power_state !== 'Halted') return;
    await this.devices.arrange(guest);
    await this.disks.remove(guest, neededDisks(guest.state));
  }
}

const isResized = ({ state: { phase, before } }: Guest, flavor: FlavorSnapshot): boolean =>
  phase === 'resized' && before !== null && isFlavorText(before.flavor, flavor);
