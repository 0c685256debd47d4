import { createHash } from 'node:crypto';
import {
  type CommandContext,
  type CommandId,
  DomainError,
  type Instant,
  type LoginEvent,
  loginEvents,
  type Milliseconds,
  type RequestId,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { LRUCache } from 'lru-cache';
import type { GatewayCore } from '../../core/gateway-core.js';

interface Count {
  readonly source: string;
  readonly reason: string;
  readonly minute: Instant;
  readonly count: number;
}

const tallies: Aggregate<null, readonly Count[], LoginEvent> = {
  events: loginEvents,
  initial: null,
  decide: (counts) => counts.map((data) => ({ type: 'LoginFailuresCounted', data })),
  evolve: () => null,
};

const MINUTE = 60_000;
/**
 * Failures of one user from one source, and of one source altogether, that are let through within a minute. Many people
 * share an address: dozens who have it wrong must not keep out those who have it right.
 */
const PER_USER = 10;
const PER_SOURCE = 500;
const MAX_KEYS = 10_000;
const MAX_TALLIES = 500;

/** Slows down whoever guesses, and counts failures for the log: one event per source, reason and minute. */
export class LoginGuard {
  private readonly failures = new LRUCache<string, number[]>({ max: MAX_KEYS });
  private readonly counts = new Map<string, Count>();
  private unwritten: { readonly id: string; readonly batch: Count[] } | undefined;
  private cancel = () => {};

  constructor(private readonly core: GatewayCore) {}

  start(): void {
    this.cancel = this.core.clock.after(MINUTE as Milliseconds, () => {
      // What could not be written is kept, and written the next minute.
      this.flush().catch(() => {});
      this.start();
    });
  }

  async stop(): Promise<void> {
    this.cancel();
    await this.flush(true);
  }

  /** @throws DomainError `rateLimited` */
  admit(source: string, user: string): void {
    for (const [key, limit] of this.keys(source, user)) {
      const recent = this.recent(key);
      if (recent.length < limit) continue;
      const wait = Math.ceil((recent[recent.length - limit]! + MINUTE - this.now()) / 1000);
      throw new DomainError('rateLimited', 'Too many failed logins. Please try again later.', {
        details: { retryAfter: Math.max(1, wait) },
      });
    }
  }

  failed(source: string, user: string, reason: string): void {
    for (const [key] of this.keys(source, user)) {
      const recent = [...this.recent(key), this.now()].slice(-PER_SOURCE);
      this.failures.set(key, recent);
    }
    const minute = new Date(Math.floor(this.now() / MINUTE) * MINUTE).toISOString() as Instant;
    let from = source;
    if (this.counts.size >= MAX_TALLIES && !this.counts.has(`${source} ${reason} ${minute}`)) from = 'others';
    const key = `${from} ${reason} ${minute}`;
    const count = (this.counts.get(key)?.count ?? 0) + 1;
    this.counts.set(key, { source: from, reason, minute, count });
  }

  succeeded(source: string, user: string): void {
    this.failures.delete(this.keys(source, user)[0][0]);
  }

  /** Writes the minutes that are over, or `all`. A batch that fails is written again under the same command. */
  async flush(all = false): Promise<void> {
    if (!this.unwritten) {
      const current = new Date(Math.floor(this.now() / MINUTE) * MINUTE).toISOString();
      const over = [...this.counts].filter(([, count]) => all || count.minute < current);
      if (over.length === 0) return;
      for (const [key] of over) this.counts.delete(key);
      this.unwritten = { id: this.core.ids.uuid(), batch: over.map(([, count]) => count) };
    }
    const { id, batch } = this.unwritten;
    const context: CommandContext = {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId: `req-${id}` as RequestId,
      correlationId: `req-${id}` as RequestId,
      causationId: null,
      commandId: `login/${id}` as CommandId,
    };
    await this.core.commands.execute(tallies, id, batch, context);
    this.unwritten = undefined;
  }

  private keys(source: string, user: string): [[string, number], [string, number]] {
    const hashed = createHash('sha256').update(user).digest('base64').slice(0, 16);
    return [
      [`${source} ${hashed}`, PER_USER],
      [source, PER_SOURCE],
    ];
  }

  private recent(key: string): number[] {
    const since = this.now() - MINUTE;
    return (this.failures.get(key) ?? []).filter((t) => t > since);
  }

  private now(): number {
    return Date.parse(this.core.clock.now());
  }
}
