import type { ServerId } from '@omnivisor/contracts';
import type { Properties } from '../transport/properties.js';
import type { Ref } from '../transport/soap.js';
import type { Updates } from '../transport/updates.js';
import type { Guests } from './guests.js';
import { stateEntry, VM_CHANGES } from './records.js';

/** Follows the VMs, and tells which servers have changed. */
export class Watch {
  private readonly known = new Map<string, ServerId>();

  constructor(
    private readonly guests: Guests,
    private readonly tell: (id: ServerId) => void,
  ) {}

  start(updates: Updates): void {
    updates.watch(this.guests.place.datacenter.ref, VM_CHANGES, (ref, changed) => this.hear(ref, changed));
  }

  private hear({ value }: Ref, changed: Properties | null): void {
    const before = this.known.get(value);
    const mark = changed && stateEntry(changed);
    const now = mark ? this.guests.serverOf(mark) : undefined;
    if (now) this.known.set(value, now);
    // A change of its power says nothing of whose it is; one that is gone, or has become another's, is told once more.
    else if (changed === null || now === null) this.known.delete(value);
    if (now && now !== before) this.guests.overlook(now);
    for (const id of new Set([before, now])) if (id) this.tell(id);
  }
}
