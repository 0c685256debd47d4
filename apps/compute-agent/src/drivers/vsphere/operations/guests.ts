import { mib, type ServerId } from '@omnivisor/contracts';
import { type FoundGuest, type GuestMark, type GuestStage, HypervisorError } from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import type { ArgumentObject, Ref } from '../transport/soap.js';
import type { Updates } from '../transport/updates.js';
import { isFault } from '../transport/vim-fault.js';
import { CUT_OFF_KEY, type GuestState, markOf, readState, STATE_KEY } from './guest-state.js';
import type { Place } from './place.js';
import { VM_PATHS, type VmRecord, vmRecord } from './records.js';

/** A VM with our mark. */
export interface Guest {
  readonly vm: VmRecord;
  readonly state: GuestState;
}

/** What a VM's mark says of whose it is. */
export interface MarkedVm {
  readonly vm: VmRecord;
  readonly state: GuestState | 'unreadable';
}

export const extraConfig = (key: string, value: string): ArgumentObject => ({
  key,
  value: { $type: 'xsd:string', $text: value },
});

/** What makes these the cards of the VM that are cut off. An empty entry is none. */
export const cutOffEntry = (vm: VmRecord, cutOff: readonly string[]): ArgumentObject[] =>
  cutOff.join() === vm.cutOff.join() ? [] : [extraConfig(CUT_OFF_KEY, cutOff.join(' '))];

/** A vCenter counts its objects: `vm-42`. */
const numberOf = ({ value }: Ref): number => Number(/\d+$/.exec(value)?.[0] ?? 0);

const stageOf = ({ phase }: GuestState): GuestStage => (phase === 'settled' ? 'settled' : phase);

/** The VMs of a datacenter as servers. */
export class Guests {
  /** Where a server was last seen; its mark is looked at again each time. */
  private readonly seen = new Map<ServerId, Ref>();

  constructor(
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly cloudId: string,
    readonly place: Place,
  ) {}

  async vms(): Promise<VmRecord[]> {
    const found = await this.read.below(this.place.datacenter.ref, 'VirtualMachine', VM_PATHS);
    return found.map(vmRecord);
  }

  /** Every VM with a mark, whatever cloud and place it is of. */
  async marked(): Promise<MarkedVm[]> {
    return (await this.vms()).flatMap((vm) => (vm.state === null ? [] : [{ vm, state: readState(vm.state) }]));
  }

  /**
   * One for each server. Hosts of one vCenter may each have a VM of it, and an agent sees its own only; but that of a whole
   * cluster has those of all members: then it is the newest attempt, and of copies that somebody made the oldest VM.
   */
  async all(): Promise<Guest[]> {
    const guests = new Map<ServerId, Guest>();
    for (const guest of await this.ours()) {
      const { serverId } = guest.state;
      const other = guests.get(serverId);
      if (!other || this.goesBefore(guest, other)) guests.set(serverId, guest);
    }
    for (const [id, { vm }] of guests) this.seen.set(id, vm.ref);
    return [...guests.values()];
  }

  private async ours(): Promise<Guest[]> {
    return (await this.marked()).filter((guest): guest is Guest => this.isOurs(guest.state));
  }

  private goesBefore(one: Guest, other: Guest): boolean {
    const [a, b] = [one, other].map((guest) => this.view(guest).mark.attempt) as [number, number];
    return a === b ? numberOf(one.vm.ref) < numberOf(other.vm.ref) : a > b;
  }

  /** Null when that attempt has no VM here, whatever others have. */
  async ofAttempt(id: ServerId, attempt: number): Promise<Guest | null> {
    const isMeant = (guest: Guest) => this.view(guest).mark.attempt === attempt;
    const found = await this.find(id);
    if (!found || isMeant(found)) return found;
    return (await this.ours()).find((guest) => guest.state.serverId === id && isMeant(guest)) ?? null;
  }

  /** What a spawn of this very mark has left here that was cut off. */
  async halfMade({ serverId, attempt, build }: GuestMark): Promise<Guest[]> {
    return (await this.ours()).filter(
      ({ state }) =>
        state.serverId === serverId && state.attempt === attempt && state.build === build && state.phase === 'building',
    );
  }

  /** Another VM of the server may have come: which is its guest is looked at again. */
  overlook(id: ServerId): void {
    this.seen.delete(id);
  }

  /** Null when this server has no VM here. */
  async find(id: ServerId): Promise<Guest | null> {
    const ref = this.seen.get(id);
    if (ref !== undefined) {
      const guest = await this.at(ref);
      if (guest?.state.serverId === id) return guest;
      this.seen.delete(id);
    }
    return (await this.all()).find(({ state }) => state.serverId === id) ?? null;
  }

  /** @throws HypervisorError `serverNotOnHost` */
  async get(id: ServerId): Promise<Guest> {
    const guest = await this.find(id);
    if (!guest) throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    return guest;
  }

  /** One that is to be changed: neither on its way nor gone. @throws HypervisorError */
  async settled(id: ServerId): Promise<Guest> {
    const guest = await this.get(id);
    const { stage } = this.view(guest);
    if (stage === 'moved') throw new HypervisorError('fault', 'the guest has moved to another host');
    if (stage === 'incoming') throw new HypervisorError('fault', 'the guest is on its way to this host');
    return guest;
  }

  async at(ref: Ref): Promise<Guest | null> {
    try {
      const vm = vmRecord({ ref, properties: await this.read.of(ref, VM_PATHS) });
      const state = vm.state === null ? null : readState(vm.state);
      return this.isOurs(state) ? { vm, state } : null;
    } catch (error) {
      if (isFault(error, 'ManagedObjectNotFound')) return null;
      throw error;
    }
  }

  async again({ vm, state }: Guest): Promise<Guest> {
    const guest = await this.at(vm.ref);
    if (!guest) throw new HypervisorError('serverNotOnHost', `server ${state.serverId} is not on this host any more`);
    return guest;
  }

  /**
   * Writes all that is known of a guest, and what else of it changes, at one moment. What the agent of a member has left gets
   * the place of the cluster, which stays when the member leaves.
   * @param cutOff MAC addresses of the cards that are, where that changes
   */
  async write(
    { vm }: Guest,
    given: GuestState,
    spec: ArgumentObject = {},
    cutOff: readonly string[] = vm.cutOff,
  ): Promise<Guest> {
    const state = { ...given, place: this.place.own(given.place) };
    await this.updates.run(vm.ref, 'ReconfigVM_Task', {
      spec: { ...spec, extraConfig: [extraConfig(STATE_KEY, JSON.stringify(state)), ...cutOffEntry(vm, cutOff)] },
    });
    return { vm: { ...vm, cutOff }, state };
  }

  /** The same of a VM that is another host's by now, whose agent may be changing it. @throws VimFault when it has */
  writeUnchanged(guest: Guest, state: GuestState): Promise<Guest> {
    const { version } = guest.vm;
    return this.write(guest, state, version === '' ? {} : { changeVersion: version });
  }

  /** A guest as it stands for this place. */
  view({ vm, state }: Guest): FoundGuest {
    const { place, invited, movedFrom, phase, start } = state;
    const facts = { mark: markOf(state), memory: mib(vm.memoryMib), vcpus: vm.vcpus };
    const nowhere = (stage: GuestStage, attempt = state.attempt): FoundGuest => ({
      ...{ ...facts, stage, power: 'noState' },
      mark: { ...facts.mark, attempt },
    });
    if (!this.place.is(place))
      return movedFrom !== null && this.place.is(movedFrom.place)
        ? nowhere('moved', movedFrom.attempt)
        : nowhere('incoming', invited?.attempt);
    if (invited && (this.place.isAt(vm.host, invited.place) || invited.hosts?.includes(vm.host?.value ?? '')))
      return nowhere('moved');
    if (phase === 'building' || (start === 'spawn' && vm.power === 'shutdown')) return nowhere('building');
    return { ...facts, stage: stageOf(state), power: vm.power };
  }

  /** Whose a VM is, by the text of its mark; null when it is not ours. */
  serverOf(mark: string | null): ServerId | null {
    const state = mark === null ? null : readState(mark);
    return this.isOurs(state) ? state.serverId : null;
  }

  isOurs(state: GuestState | 'unreadable' | null): state is GuestState {
    if (state === null || state === 'unreadable' || state.cloudId !== this.cloudId) return false;
    const places = [state.place, state.invited?.place, state.movedFrom?.place];
    return places.some((place) => typeof place === 'string' && this.place.is(place));
  }
}
