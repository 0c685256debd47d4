import type { HostRecord, Ref, VmRecord } from './records.js';

/** The part of a pool that one agent drives: one member, or all of them as one host. */
export class Place {
  /** UUIDs of all members that there were: what their agents have left is still in the pool when they are not. */
  private readonly known = new Set<string>();
  private current: ReadonlyMap<Ref, HostRecord> = new Map();

  constructor(
    readonly pool: { readonly ref: Ref; readonly uuid: string },
    /** Null: the whole pool. */
    readonly member: { readonly ref: Ref; readonly record: HostRecord } | null,
    members: ReadonlyMap<Ref, HostRecord>,
  ) {
    this.members = members;
  }

  /** All members, by reference, as they were when they were last looked at. */
  get members(): ReadonlyMap<Ref, HostRecord> {
    return this.current;
  }

  set members(members) {
    this.current = members;
    for (const { uuid } of members.values()) this.known.add(uuid);
  }

  get uuid(): string {
    return this.member?.record.uuid ?? this.pool.uuid;
  }

  /** Whether a mark's place is this one. The agent of a whole pool also drives what those of single members left. */
  is(place: string): boolean {
    if (place === this.uuid) return true;
    return this.member === null && this.known.has(place);
  }

  /** What a mark is to say that names this place. */
  own(place: string): string {
    return this.is(place) ? this.uuid : place;
  }

  /** Whether a VM runs on the member that is another agent's place. */
  isAt({ resident_on }: VmRecord, place: string): boolean {
    return this.members.get(resident_on)?.uuid === place;
  }

  /** Members that guests of this place may start on. */
  get hosts(): readonly Ref[] {
    return this.member ? [this.member.ref] : [...this.members.keys()];
  }
}
