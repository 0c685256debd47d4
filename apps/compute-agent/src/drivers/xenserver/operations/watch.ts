import type { ServerId } from '@omnivisor/contracts';
import type { EventToken, XapiSession } from '../transport/xapi-session.js';
import type { Ref, VmRecord } from './records.js';

/** What of a VM its server's agent wants to know of; the rest of its record changes often and says nothing. */
const summaryOf = ({ power_state, resident_on, other_config }: VmRecord): string =>
  `${power_state} ${resident_on} ${other_config.omnivisor}`;

/** Follows the pool's VMs, and tells which servers have changed. */
export class Watch {
  private token: EventToken | null = null;
  private readonly known = new Map<Ref, { readonly id: ServerId; readonly summary: string }>();

  constructor(
    private readonly xapi: XapiSession,
    private readonly tell: (id: ServerId) => void,
  ) {}

  /** Waits for the next changes; the first time, and under a new master, it hears of every VM. */
  async next(serverOf: (record: VmRecord) => ServerId | null): Promise<void> {
    const batch = await this.xapi.events(['VM'], this.token);
    this.token = batch.token;
    for (const { ref, operation, snapshot } of batch.events) {
      const before = this.known.get(ref);
      const record = snapshot as VmRecord | undefined;
      const id = operation !== 'del' && record ? serverOf(record) : null;
      if (id === null) this.known.delete(ref);
      else this.known.set(ref, { id, summary: summaryOf(record!) });
      if (before?.summary === this.known.get(ref)?.summary) continue;
      const concerned = id ?? before?.id;
      if (concerned) this.tell(concerned);
    }
    if (!batch.isWhole) return;
    const there = new Set(batch.events.map(({ ref }) => ref));
    for (const [ref, { id }] of this.known)
      if (!there.has(ref)) {
        this.known.delete(ref);
        this.tell(id);
      }
  }

  /** Begins anew: what was known may be old. */
  forget(): void {
    this.token = null;
  }
}
