import { DomainError, type Endpoint, type Milliseconds, ms, unavailable } from '@omnivisor/contracts';
import type { Bus, BusOptions, Clock, Subscription } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import type { Life } from './life.js';
import type { Random } from './random.js';

/** What happens to messages just now: chances of one message, and its longest way in milliseconds. */
export interface NetworkWeather {
  readonly lose: number;
  readonly double: number;
  readonly delay: number;
}
export const CALM: NetworkWeather = { lose: 0, double: 0, delay: 0 };

interface Entry {
  readonly life: Life;
  readonly pattern: readonly string[];
  readonly queue: string | undefined;
  /** Answers a request with what goes on the wire; undefined for a subscription. */
  readonly answer?: (message: unknown, subject: string) => Promise<unknown>;
  readonly hear?: (message: unknown, subject: string) => void;
}

const matches = (pattern: readonly string[], subject: readonly string[]): boolean =>
  pattern.at(-1) === '>'
    ? subject.length >= pattern.length && pattern.slice(0, -1).every((p, i) => p === '*' || p === subject[i])
    : pattern.length === subject.length && pattern.every((p, i) => p === '*' || p === subject[i]);

/**
 * The bus between processes. Messages go as text; each may be lost, come late (and so overtake others) or twice, and a
 * process may be cut off. Who has died hears nothing.
 */
export class SimulatedNetwork {
  weather = CALM;
  private entries: Entry[] = [];
  private readonly restored = new Map<Life, Set<() => void>>();
  private turn = 0;

  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
  ) {}

  /** Cuts a process off, or joins it again. */
  setConnected(life: Life, connected: boolean): void {
    const back = connected && life.cut.bus;
    life.cut.bus = !connected;
    if (back && life.alive) for (const action of this.restored.get(life) ?? []) action();
  }

  portFor(life: Life): Bus {
    life.onEnd(() => {
      this.entries = this.entries.filter((e) => e.life !== life);
      this.restored.delete(life);
    });
    const add = (entry: Omit<Entry, 'life'>): Subscription => {
      const own = { ...entry, life };
      if (life.alive) this.entries.push(own);
      return {
        close: async () => {
          this.entries = this.entries.filter((e) => e !== own);
        },
      };
    };
    return {
      request: (endpoint, request, subject = endpoint.subject) =>
        life.call(`asks ${subject}`, () => this.request(life, endpoint, request, subject)),
      respond: <Q extends z.ZodType, R extends z.ZodType>(
        endpoint: Endpoint<Q, R>,
        handler: (request: z.output<Q>, subject: string) => Promise<z.input<R>>,
        options: BusOptions = {},
      ) =>
        life.call(`serves ${endpoint.subject}`, async () => {
          const answer = async (message: unknown, subject: string) => {
            const parsed = endpoint.request.safeParse(message);
            if (!parsed.success) throw new DomainError('invalid', `malformed request on ${subject}`);
            return handler(parsed.data as z.output<Q>, subject);
          };
          return add({ pattern: endpoint.subject.split('.'), queue: options.queue, answer });
        }),
      subscribe: (subject, hear, options = {}) =>
        life.call(`hears ${subject}`, async () => add({ pattern: subject.split('.'), queue: options.queue, hear })),
      publish: (subject, message) => life.act(`tells ${subject}`, () => this.publish(life, subject, message)),
      connected: () => !life.cut.bus,
      onRestored: (action) => {
        const actions = this.restored.get(life) ?? new Set();
        this.restored.set(life, actions.add(action));
        return () => actions.delete(action);
      },
      close: async () => {},
    };
  }

  private publish(from: Life, subject: string, message: unknown): void {
    if (from.cut.bus) return;
    const text = JSON.stringify(message);
    for (const entry of this.chosen(subject, (e) => e.hear !== undefined))
      this.carry(() => {
        if (entry.life.alive && !entry.life.cut.bus) entry.hear!(JSON.parse(text), subject);
      });
  }

  private async request<Q extends z.ZodType, R extends z.ZodType>(
    from: Life,
    endpoint: Endpoint<Q, R>,
    request: z.input<Q>,
    subject: string,
  ): Promise<z.output<R>> {
    const responders = from.cut.bus ? [] : this.chosen(subject, (e) => e.answer !== undefined);
    if (responders.length === 0) throw unavailable(`nobody answers ${subject}`);
    const text = JSON.stringify(request ?? null);
    let cancel = () => {};
    try {
      const reply = await new Promise<string>((resolve, reject) => {
        const timeout = ms(endpoint.timeout);
        cancel = this.clock.after(timeout, () => reject(unavailable(`no answer to ${subject}`)));
        const back = (life: Life, deliver: () => void) => {
          if (!life.alive || life.cut.bus) return;
          this.carry(() => {
            if (!from.cut.bus) deliver();
          });
        };
        for (const { life, answer } of responders)
          this.carry(() => {
            if (!life.alive || life.cut.bus) return;
            void answer!(JSON.parse(text), subject).then(
              (value) => back(life, () => resolve(JSON.stringify(value ?? null))),
              (error) => back(life, () => reject(error)),
            );
          });
      });
      return endpoint.reply.parse(JSON.parse(reply)) as z.output<R>;
    } catch (error) {
      if (error instanceof DomainError) throw DomainError.fromWire(error.toWire());
      throw unavailable(`${subject} failed`, error);
    } finally {
      cancel();
    }
  }

  /** Takes a message on its way. */
  private carry(deliver: () => void): void {
    const { lose, double, delay } = this.weather;
    const once = () => {
      if (this.random.chance(lose)) return;
      if (delay > 0) this.clock.after(this.random.below(delay) as Milliseconds, deliver);
      else queueMicrotask(deliver);
    };
    once();
    if (this.random.chance(double)) once();
  }

  /** One of each queue, and everybody without a queue. */
  private chosen(subject: string, fits: (entry: Entry) => boolean): Entry[] {
    const tokens = subject.split('.');
    const queues = new Map<string | Entry, Entry[]>();
    for (const entry of this.entries) {
      if (!fits(entry) || entry.life.cut.bus || !matches(entry.pattern, tokens)) continue;
      const key = entry.queue ?? entry;
      queues.set(key, [...(queues.get(key) ?? []), entry]);
    }
    return [...queues.values()].map((members) => members[this.turn++ % members.length]!);
  }
}
