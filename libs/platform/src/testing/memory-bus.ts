import type { Milliseconds } from '@omnivisor/contracts';
import { DomainError, type Endpoint, unavailable } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { Bus, BusOptions, Clock, Subscription } from '../ports/index.js';

interface Entry {
  readonly pattern: string[];
  readonly queue: string | undefined;
  readonly handle: (message: unknown, subject: string) => unknown;
  readonly responds: boolean;
}

const matches = (pattern: string[], subject: string[]): boolean => {
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] === '>') return subject.length > i;
    if (i >= subject.length || (pattern[i] !== '*' && pattern[i] !== subject[i])) return false;
  }
  return pattern.length === subject.length;
};

/** The bus within one process. Messages are copied through JSON, as on a wire. */
export class MemoryBus implements Bus {
  private entries: Entry[] = [];
  private turn = 0;
  private up = true;
  private readonly restored = new Set<() => void>();
  /** Says which published messages never arrive. */
  loses: (subject: string) => boolean = () => false;

  constructor(private readonly clock: Clock) {}

  async request<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    request: z.input<Q>,
    subject: string = endpoint.subject,
  ): Promise<z.output<R>> {
    const responders = this.up ? this.answering(subject) : [];
    if (responders.length === 0) throw unavailable(`nobody answers ${subject}`);
    let cancel = () => {};
    const deadline = new Promise<never>((_, reject) => {
      cancel = this.clock.after(endpoint.timeout as Milliseconds, () => reject(unavailable(`no answer to ${subject}`)));
    });
    try {
      const reply = await Promise.race([...responders.map(async (r) => r.handle(copy(request), subject)), deadline]);
      return endpoint.reply.parse(copy(reply)) as z.output<R>;
    } catch (error) {
      if (error instanceof DomainError) throw DomainError.fromWire(error.toWire());
      throw unavailable(`${subject} failed`, error);
    } finally {
      cancel();
    }
  }

  async respond<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    handler: (request: z.output<Q>, subject: string) => Promise<z.input<R>>,
    options: BusOptions = {},
  ): Promise<Subscription> {
    return this.add({
      pattern: endpoint.subject.split('.'),
      queue: options.queue,
      responds: true,
      handle: (message, subject) => {
        const parsed = endpoint.request.safeParse(message);
        if (!parsed.success)
          throw new DomainError('invalid', `malformed request on ${subject}`, { cause: parsed.error });
        return handler(parsed.data as z.output<Q>, subject);
      },
    });
  }

  publish(subject: string, message: unknown): void {
    if (!this.up || this.loses(subject)) return;
    const text = JSON.stringify(message);
    const seen = new Set<string>();
    for (const entry of this.matching(subject)) {
      if (entry.responds) continue;
      if (entry.queue !== undefined) {
        if (seen.has(entry.queue)) continue;
        seen.add(entry.queue);
      }
      queueMicrotask(() => entry.handle(JSON.parse(text), subject));
    }
  }

  async subscribe(
    subject: string,
    handler: (message: unknown, subject: string) => void,
    options: BusOptions = {},
  ): Promise<Subscription> {
    return this.add({ pattern: subject.split('.'), queue: options.queue, responds: false, handle: handler });
  }

  connected(): boolean {
    return this.up;
  }

  /** Cuts or restores the wire: while cut, requests fail and messages are lost. */
  setConnected(up: boolean): void {
    const restored = up && !this.up;
    this.up = up;
    if (restored) for (const action of this.restored) action();
  }

  onRestored(action: () => void): () => void {
    this.restored.add(action);
    return () => this.restored.delete(action);
  }

  async close(): Promise<void> {
    this.entries = [];
    this.up = false;
  }

  /** One of each queue, and everybody without a queue. */
  private answering(subject: string): Entry[] {
    const queues = new Map<string | Entry, Entry[]>();
    for (const entry of this.matching(subject).filter((e) => e.responds)) {
      const key = entry.queue ?? entry;
      queues.set(key, [...(queues.get(key) ?? []), entry]);
    }
    return [...queues.values()].map((members) => members[this.turn++ % members.length]!);
  }

  private matching(subject: string): Entry[] {
    const tokens = subject.split('.');
    return this.entries.filter((e) => matches(e.pattern, tokens));
  }

  private add(entry: Entry): Subscription {
    this.entries.push(entry);
    return {
      close: async () => {
        this.entries = this.entries.filter((e) => e !== entry);
      },
    };
  }
}

const copy = (message: unknown): unknown => JSON.parse(JSON.stringify(message ?? null));
