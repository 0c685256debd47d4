import type { HostRecord, Ref, VmRecord } from './records.js';

/** The part of a pool that one agent drives: one member, or all of them as one host. */
export class Place {
  constructor(
    readonly pool: { readonly ref: Ref; readonly uuid: string },
    /** Null: the whole pool. */
    readonly member: { readonly ref: Ref; readonly record: HostRecord } | null,
    /** All members, by reference, as they were when they were last looked at. */
    public members: ReadonlyMap<Ref, HostRecord>,
  ) {}

  get uuid(): string {
    return this.member?.record.uuid ?? this.pool.uuid;
  }

  /** Whether a mark's place is this one. The agent of a whole pool also drives what those of single members left. */
  is(place: string): boolean {
    if (place === this.uuid) return true;
    return this.member === null && [...this.members.values()].some(({ uuid }) => uuid === place);
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
