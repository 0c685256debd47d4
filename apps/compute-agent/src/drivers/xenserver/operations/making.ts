import { type HardwareWishes, hardwareWishesOf } from '@omnivisor/contracts';
import { type GuestMark, type GuestNic, type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import { xapiCode } from '../transport/xapi-error.js';
import type { XapiSession } from '../transport/xapi-session.js';
import { refuseAborted } from './aborted.js';
import type { Devices } from './devices.js';
import { type GuestState, type LocalDisk, newState, STATE_KEY, wishesIn } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import {
  type Frame,
  type Hardware,
  hardwareOf,
  type Machine,
  machineFor,
  ownHardware,
  reshaped,
  wishOf,
} from './hardware.js';
import type { Host } from './host.js';
import type { LocalDisks } from './local-disks.js';
import type { Place } from './place.js';
import type { Power } from './power.js';
import { NULL_REF, type Ref } from './records.js';
import type { Storage } from './storage.js';

interface Parts {
  readonly xapi: XapiSession;
  readonly cloudId: string;
  readonly place: Place;
  readonly guests: Guests;
  readonly devices: Devices;
  readonly storage: Storage;
  readonly disks: LocalDisks;
  readonly power: Power;
  readonly host: Host;
}

/** Makes guests, starts them and removes them. */
export class Making {
  constructor(private readonly parts: Parts) {}

  async spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { guests, power, devices, disks } = this.parts;
    const there = await this.occupant(spec);
    if (there) return this.settleSpawned(there, spec);
    refuseAborted(signal);
    // What can be refused is, before anything is made.
    const nics = await devices.plan(spec.nics);
    const machine = this.machine(spec, await this.frame());
    const plans = await disks.plansFor(spec, signal);
    refuseAborted(signal);
    await disks.removeStrays(spec.mark.serverId);
    try {
      let guest = await this.create(spec, machine);
      await power.assertFits(guest.ref);
      await devices.arrangeNics(guest.ref, nics);
      const made: LocalDisk[] = [];
      for (const plan of plans) made.push(await disks.make(guest, plan, signal));
      guest = await guests.write(guest, {
        ...guest.state,
        disks: made,
        phase: 'settled',
        start: spec.powerOn ? 'spawn' : null,
      });
      await devices.arrange(guest);
      refuseAborted(signal);
      await this.startIfWanted(guest);
    } catch (error) {
      for (const guest of await guests.ofServer(spec.mark.serverId))
        if (this.isOf(guest, spec.mark)) await this.remove(guest);
      throw error;
    }
  }

  /** The guest of this very mark, if it is there. Clears away what a spawn left behind that was cut off. */
  private async occupant({ mark }: GuestSpec): Promise<Guest | null> {
    const { guests } = this.parts;
    let there: Guest | null = null;
    for (const guest of await guests.ofServer(mark.serverId)) {
      this.refuseBeside(guest, mark);
      if (!this.isOf(guest, mark)) continue;
      if (guest.state.phase === 'building') await this.remove(guest);
      else there = guest;
    }
    return there;
  }

  private isOf({ state }: Guest, mark: GuestMark): boolean {
    const { attempt, build, cloudId, place } = state;
    return cloudId === mark.cloudId && attempt === mark.attempt && build === mark.build && this.parts.place.is(place);
  }

  /** What a move left with another member is off, and older. @throws HypervisorError `fault` for all else */
  private refuseBeside(guest: Guest, mark: GuestMark): void {
    const { guests, cloudId } = this.parts;
    const { state, record } = guest;
    const { serverId } = mark;
    if (state.cloudId !== cloudId || mark.cloudId !== cloudId)
      throw new HypervisorError('fault', `a guest of another cloud has the place of server ${serverId}`);
    if (this.isOf(guest, mark)) return;
    if (guests.isExpectedOrHere(guest))
      throw new HypervisorError('fault', `another attempt or build of server ${serverId} is on this host`);
    if (state.attempt >= mark.attempt)
      throw new HypervisorError('fault', `server ${serverId} is on another host of this pool`);
    if (record.power_state === 'Running' || record.power_state === 'Paused')
      throw new HypervisorError('fault', `an older attempt of server ${serverId} runs on another host of this pool`);
  }

  /** An agent ended between the last two steps of the spawn. */
  private async settleSpawned(guest: Guest, { nics }: GuestSpec): Promise<void> {
    if (guest.state.start === 'spawn' && guest.record.power_state === 'Halted')
      await this.parts.devices.arrangeNics(guest.ref, await this.parts.devices.plan(nics));
    await this.startIfWanted(guest);
  }

  async frame(): Promise<Frame> {
    const { host } = this.parts;
    return { capabilities: await host.capabilities(), template: await host.template() };
  }

  /** @throws HypervisorError `unsupported` for what no guest of the pool is granted */
  machine(spec: GuestSpec, { capabilities, template }: Frame): Machine {
    return machineFor(wishOf(spec), capabilities, template);
  }

  /**
   * What a guest becomes when other things are wished for. Those of an adopted guest are not known: it keeps what it has.
   * @throws HypervisorError `unsupported` for what no guest of the pool is granted
   */
  reshaped(guest: Guest, to: HardwareWishes, vcpus: number, { capabilities, template }: Frame): Hardware {
    const { state } = guest;
    const by = (wishes: HardwareWishes, count: number) => {
      const wish = {
        ...wishes,
        vcpus: count,
        memoryMib: state.size.memoryMib,
        name: '',
        description: '',
        directBoot: false,
      };
      return hardwareOf(machineFor(wish, capabilities, template));
    };
    return reshaped(ownHardware(guest), by(wishesIn(state), state.size.vcpus), by(to, vcpus), vcpus);
  }

  private async create(spec: GuestSpec, machine: Machine): Promise<Guest> {
    const { xapi, guests, place, storage } = this.parts;
    const size = { vcpus: spec.flavor.vcpus, memoryMib: spec.flavor.memory };
    const state: GuestState = {
      ...newState(spec.mark, place.uuid, size),
      hardware: hardwareOf(machine),
      wishes: hardwareWishesOf(spec.image, spec.flavor),
    };
    const ref = await xapi.call<Ref>('VM.create', {
      ...machine,
      affinity: place.member?.ref ?? NULL_REF,
      suspend_SR: await storage.repository(),
      other_config: { [STATE_KEY]: JSON.stringify(state) },
    });
    const guest = await guests.at(ref);
    if (!guest) throw new HypervisorError('fault', 'the guest was removed while it was made');
    return guest;
  }

  /** Removes the guest with its disks, and those first: as long as its VM is there, a crash leaves nothing that is not found. */
  async remove(guest: Guest): Promise<void> {
    const { xapi, power, devices, storage, disks } = this.parts;
    await power.cut(guest.ref);
    // Its disks have no marks yet when it has come and was not accepted.
    if (guest.state.invited) for (const [, vdi] of await devices.localVdis(guest)) await storage.remove(vdi);
    await disks.remove(guest);
    await xapi.run('VM.destroy', [guest.ref]).catch((error: unknown) => {
      if (xapiCode(error) !== 'HANDLE_INVALID') throw error;
    });
  }

  /** Starts a guest that is off, as its state says. */
  async start(guest: Guest, nics: readonly GuestNic[], signal?: AbortSignal): Promise<void> {
    const { power, guests, devices } = this.parts;
    const current = await guests.again(guest);
    switch (current.record.power_state) {
      case 'Running':
        return;
      case 'Paused':
        return power.unpause(guest.ref);
      case 'Suspended':
        throw new HypervisorError('fault', 'a suspended guest is resumed, not started: its memory would be lost');
      default: {
        const settled = await this.settle(current);
        const planned = await devices.plan(nics);
        await devices.arrange(settled);
        await devices.arrangeNics(settled.ref, planned);
        refuseAborted(signal);
        await power.start(settled.ref);
      }
    }
  }

  /** One that is suspended stays so when a port of it cannot be locked. */
  async resume({ ref, record }: Guest, nics: readonly GuestNic[]): Promise<void> {
    const { power, devices } = this.parts;
    if (record.power_state === 'Suspended') await devices.relockNics(ref, nics);
    await power.resume(ref);
  }

  /** Somebody has decided about its power: what was cut off is not made up for any more. */
  async settle(guest: Guest): Promise<Guest> {
    const { guests, place } = this.parts;
    const { state } = guest;
    const isSettled = state.start === null && state.place === place.own(state.place);
    return isSettled ? guest : guests.write(guest, { ...state, start: null });
  }

  /** Ends what was cut off before the guest was started. */
  async startIfWanted(guest: Guest): Promise<void> {
    const { power, guests, devices } = this.parts;
    if (guest.state.start === null) return;
    if ((await power.state(guest.ref)) === 'Halted') {
      await devices.arrange(guest);
      await power.start(guest.ref);
    }
    await guests.write(guest, { ...guest.state, start: null });
  }
}
