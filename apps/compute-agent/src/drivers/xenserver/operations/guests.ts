import { mib, type PowerState, type ServerId } from '@omnivisor/contracts';
import { type FoundGuest, HypervisorError } from '../../hypervisor-driver.js';
import { xapiCode } from '../transport/xapi-error.js';
import type { XapiSession } from '../transport/xapi-session.js';
import { type GuestState, markOf, readState, STATE_KEY, stageOf } from './guest-state.js';
import type { Place } from './place.js';
import { NULL_REF, type Ref, type VmRecord, wholeNumber, type XapiMap } from './records.js';

/** A VM with our mark. */
export interface Guest {
  readonly ref: Ref;
  readonly record: VmRecord;
  readonly state: GuestState;
}

/** What a VM's mark says of whose it is. */
export interface MarkedVm {
  readonly ref: Ref;
  readonly record: VmRecord;
  readonly state: GuestState | 'unreadable';
}

const POWER: Readonly<Record<VmRecord['power_state'], PowerState>> = {
  Running: 'running',
  Paused: 'paused',
  Halted: 'shutdown',
  Suspended: 'suspended',
};

/** The pool's VMs as servers. */
export class Guests {
  /** Where a server was last seen; its mark is looked at again each time. */
  private readonly seen = new Map<ServerId, Ref>();

  constructor(
    private readonly xapi: XapiSession,
    private readonly cloudId: string,
    private readonly place: Place,
  ) {}

  /** Every VM of the pool with a mark, whatever cloud and place it is of. */
  async marked(): Promise<MarkedVm[]> {
    const all = await this.xapi.call<Record<Ref, VmRecord>>('VM.get_all_records');
    return Object.entries(all).flatMap(([ref, record]) => {
      const state = record.is_a_snapshot ? null : readState(record.other_config);
      return state === null ? [] : [{ ref, record, state }];
    });
  }

  /** Every VM of a server, whatever cloud and place it is of: one that moves cold inside the pool has two. */
  async ofServer(id: ServerId): Promise<Guest[]> {
    return (await this.marked()).filter((vm): vm is Guest => vm.state !== 'unreadable' && vm.state.serverId === id);
  }

  /** Of all VMs of the pool. */
  async uuids(): Promise<ReadonlySet<string>> {
    const all = await this.xapi.call<Record<Ref, VmRecord>>('VM.get_all_records');
    return new Set(Object.values(all).map(({ uuid }) => uuid));
  }

  /** Those of this cloud and place, one for each server. */
  async all(): Promise<Guest[]> {
    const byServer = new Map<ServerId, Guest>();
    for (const guest of await this.marked()) {
      if (!this.isOurs(guest)) continue;
      const { serverId } = guest.state;
      const other = byServer.get(serverId);
      if (!other || this.goesBefore(guest, other)) byServer.set(serverId, guest);
    }
    for (const [id, { ref }] of byServer) this.seen.set(id, ref);
    return [...byServer.values()];
  }

  /**
   * Which of two VMs of a server is the one of this place: what is here for good before what is expected or has left, the
   * newer attempt before the older, and a shell last.
   */
  private goesBefore(one: Guest, other: Guest): boolean {
    const rank = (guest: Guest) =>
      [Number(this.isHome(guest)), Number(guest.state.phase !== 'shell'), this.view(guest).mark.attempt] as const;
    const [a, b] = [rank(one), rank(other)];
    const differs = a.findIndex((value, i) => value !== b[i]);
    return differs < 0 ? one.record.uuid < other.record.uuid : a[differs]! > b[differs]!;
  }

  /** Made or accepted by the agent of this very place, and still here: a server has one at most. */
  private isHome(guest: Guest): boolean {
    return guest.state.place === this.place.uuid && !['moved', 'incoming'].includes(this.view(guest).stage);
  }

  /** Null when this server has no VM here. */
  async find(id: ServerId): Promise<Guest | null> {
    const ref = this.seen.get(id);
    if (ref !== undefined) {
      const guest = await this.at(ref);
      if (guest && guest.state.serverId === id && this.isHome(guest)) return guest;
      this.seen.delete(id);
    }
    return (await this.all()).find(({ state }) => state.serverId === id) ?? null;
  }

  /** The one that is that attempt here, whichever is shown. */
  async ofAttempt(id: ServerId, attempt: number): Promise<Guest | null> {
    const here = (await this.ofServer(id)).filter(
      (guest) => this.isOurs(guest) && this.view(guest).mark.attempt === attempt,
    );
    return here.reduce<Guest | null>((first, guest) => (first && !this.goesBefore(guest, first) ? first : guest), null);
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
      const record = await this.xapi.call<VmRecord>('VM.get_record', ref);
      const state = readState(record.other_config);
      const guest = { ref, record, state };
      return this.isOurs(guest) ? guest : null;
    } catch (error) {
      if (xapiCode(error) === 'HANDLE_INVALID') return null;
      throw error;
    }
  }

  async again({ ref, state }: Guest): Promise<Guest> {
    const guest = await this.at(ref);
    if (!guest) throw new HypervisorError('serverNotOnHost', `server ${state.serverId} is not on this host any more`);
    return guest;
  }

  /**
   * Writes all that is known of a guest at one moment. Others keep their entries in `other_config`. What the agent of a
   * member has left gets the place of the pool, which stays when the member leaves.
   */
  async write({ ref, record }: Guest, given: GuestState): Promise<Guest> {
    const state = { ...given, place: this.place.own(given.place) };
    const config = await this.xapi.call<XapiMap>('VM.get_other_config', ref);
    const next = { ...config, [STATE_KEY]: JSON.stringify(state) };
    await this.xapi.call('VM.set_other_config', ref, next);
    return { ref, record: { ...record, other_config: next }, state };
  }

  /** A guest as it stands for this place. */
  view({ record, state }: Guest): FoundGuest {
    const { place, invited, movedFrom, phase } = state;
    const facts = {
      mark: markOf(state),
      memory: mib(Math.round(wholeNumber(record.memory_static_max) / 2 ** 20)),
      vcpus: wholeNumber(record.VCPUs_at_startup),
    };
    const nowhere = (stage: FoundGuest['stage'], attempt = state.attempt): FoundGuest => ({
      ...{ ...facts, stage, power: 'noState' },
      mark: { ...facts.mark, attempt },
    });
    const ours = this.place.is(place);
    if (phase === 'shell') return nowhere(ours ? 'moved' : 'incoming');
    if (!ours)
      return movedFrom !== null && this.place.is(movedFrom.place)
        ? nowhere('moved', movedFrom.attempt)
        : nowhere('incoming', invited?.attempt);
    // It has come, and was forgotten where it was, but is not accepted yet.
    if (invited && this.place.is(invited.place)) return nowhere('incoming');
    if (invited && (invited.sent || this.place.isAt(record, invited.place))) return nowhere('moved');
    if (phase === 'building' || (state.start === 'spawn' && record.power_state === 'Halted'))
      return nowhere('building');
    return { ...facts, stage: stageOf(state), power: POWER[record.power_state] };
  }

  /** The same of several. Of guests whose member does not live, the pool tells what they were. */
  async views(guests: readonly Guest[]): Promise<FoundGuest[]> {
    const all = await this.xapi.call<Record<Ref, { readonly live: boolean }>>('host_metrics.get_all_records');
    return guests.map((guest) => {
      const found = this.view(guest);
      const metrics = this.place.members.get(guest.record.resident_on)?.metrics ?? NULL_REF;
      return all[metrics]?.live === false ? { ...found, power: 'noState' } : found;
    });
  }

  /** It is this place's, or comes here. What has left is the place's that it went to. */
  isExpectedOrHere({ state: { place, invited } }: Guest): boolean {
    return this.place.is(place) || (invited !== null && this.place.is(invited.place));
  }

  /** Whose a VM is, by what an event tells of it; null when it is not ours. */
  serverOf(record: VmRecord): ServerId | null {
    const state = record.is_a_snapshot ? null : readState(record.other_config);
    return this.isOurs({ state }) ? (state as GuestState).serverId : null;
  }

  private isOurs(guest: { readonly state: GuestState | 'unreadable' | null }): guest is Guest {
    const { state } = guest;
    if (state === null || state === 'unreadable' || state.cloudId !== this.cloudId) return false;
    const places = [state.place, state.invited?.place, state.movedFrom?.place];
    return places.some((place) => typeof place === 'string' && this.place.is(place));
  }
}
