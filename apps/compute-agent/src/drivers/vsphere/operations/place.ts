import type { Ref } from '../transport/soap.js';

/** A member of a cluster: an ESXi host. */
export interface Member {
  readonly ref: Ref;
  readonly name: string;
  /** UUID of the vCenter and the object's id in it: names may change. */
  readonly place: string;
}

/** The part of a vCenter that one agent drives: a cluster as one host, or one of its members. */
export class Place {
  /** Places of all members that there were: what their agents have left is still in the cluster when they are not. */
  private readonly known = new Set<string>();
  private current: readonly Member[] = [];

  constructor(
    readonly datacenter: { readonly ref: Ref; readonly path: string },
    readonly cluster: { readonly ref: Ref; readonly place: string },
    members: readonly Member[],
    /** Null: the whole cluster. */
    readonly member: Member | null,
    /** Where guests are made. */
    readonly folder: Ref,
    readonly pool: Ref,
    readonly datastore: { readonly ref: Ref; readonly name: string },
  ) {
    this.members = members;
  }

  /** As they were when they were last looked at. */
  get members(): readonly Member[] {
    return this.current;
  }

  set members(members) {
    this.current = members;
    for (const { place } of members) this.known.add(place);
  }

  get id(): string {
    return this.member?.place ?? this.cluster.place;
  }

  /** Whether a mark's place is this one. The agent of a whole cluster also drives what those of single members left. */
  is(place: string): boolean {
    if (place === this.id) return true;
    return this.member === null && this.known.has(place);
  }

  /** What a mark is to say that names this place. */
  own(place: string): string {
    return this.is(place) ? this.id : place;
  }

  /** Whether a VM that is on this ESXi host is at that place. */
  isAt(host: Ref | null, place: string): boolean {
    const member = this.members.find(({ ref }) => host !== null && ref.is(host));
    return member?.place === place || (member !== undefined && place === this.cluster.place);
  }

  /** Members that guests of this place may run on. */
  get hosts(): readonly Member[] {
    return this.member ? [this.member] : this.members;
  }
}
