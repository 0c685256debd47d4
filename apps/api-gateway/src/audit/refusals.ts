import {
  type CommandContext,
  type CommandId,
  type Instant,
  type Milliseconds,
  type RefusalEvent,
  type RequestId,
  refusalEvents,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import type { Refusal } from '@omnivisor/openstack';
import type { GatewayCore } from '../core/gateway-core.js';

/** What is recorded has no state: each refusal stands for itself. */
const refusals: Aggregate<null, RefusalEvent, RefusalEvent> = {
  events: refusalEvents,
  initial: null,
  decide: (event) => [event],
  evolve: () => null,
};

interface Pending {
  readonly key: string;
  readonly event: RefusalEvent;
  readonly context: CommandContext;
}

interface Tally {
  readonly key: string;
  readonly minute: Instant;
  seen: number;
}

const MINUTE = 60_000;
const MAX_CALLERS = 10_000;
const MAX_TEXT = 255;

export interface RefusalLimits {
  /** Refusals waiting for the log; more are dropped and counted. */
  readonly queue: number;
  /** Refusals of one user within a minute that are recorded one by one; more become one event. */
  readonly perMinute: number;
}

/** Writes refused requests to the log behind their answers: it never delays one, and never fails one. */
export class Refusals {
  /** Since the start, for metrics. */
  readonly totals = { recorded: 0, counted: 0, dropped: 0 };
  private readonly queue: Pending[] = [];
  private readonly tallies = new Map<string, Tally>();
  private working: Promise<void> | undefined;
  private cancel = () => {};

  constructor(
    private readonly core: Pick<GatewayCore, 'clock' | 'commands' | 'ids'>,
    private readonly onError: (where: string, error: unknown) => void,
    private readonly limits: RefusalLimits = { queue: 1_000, perMinute: 60 },
  ) {}

  start(): void {
    this.cancel = this.core.clock.after(MINUTE as Milliseconds, () => {
      this.closeMinutes(false);
      this.start();
    });
  }

  /** Waits until all that was told is in the log or given up. */
  async stop(): Promise<void> {
    this.cancel();
    this.closeMinutes(true);
    await this.settled();
  }

  async settled(): Promise<void> {
    while (this.working) await this.working;
  }

  /** What could not even be told is counted with what was dropped. */
  readonly failed = (error: unknown): null => {
    this.totals.dropped++;
    this.onError('recording a refusal', error);
    return null;
  };

  get waiting(): number {
    return this.queue.length;
  }

  record(refusal: Refusal): void {
    const { token } = refusal;
    const now = this.core.clock.now();
    const key = `${token.projectId ?? token.userId}-${now.slice(0, 10)}`;
    const tally = this.tally(token.userId, key, now);
    if (++tally.seen > this.limits.perMinute) {
      this.totals.counted++;
      return;
    }
    this.enqueue({
      key,
      event: {
        type: 'RequestRefused',
        data: {
          requestId: refusal.requestId,
          operation: refusal.operation,
          rule: refusal.rule,
          targets: targetsOf(refusal.params),
          status: refusal.status,
        },
      },
      context: {
        actor: {
          kind: 'user',
          userId: token.userId,
          projectId: token.projectId,
          domainId: token.domainId,
          roles: token.roles.map((r) => r.name),
          address: refusal.address,
        },
        requestId: refusal.requestId,
        correlationId: refusal.correlationId,
        causationId: null,
        commandId: `${refusal.requestId}/refused` as CommandId,
      },
    });
  }

  private tally(userId: string, key: string, now: Instant): Tally {
    const minute = new Date(Math.floor(Date.parse(now) / MINUTE) * MINUTE).toISOString() as Instant;
    const known = this.tallies.get(userId);
    if (known?.minute === minute) return known;
    if (known) this.close(userId, known);
    if (this.tallies.size >= MAX_CALLERS) {
      const [oldest, tally] = this.tallies.entries().next().value!;
      this.close(oldest, tally);
    }
    const fresh = { key, minute, seen: 0 };
    this.tallies.set(userId, fresh);
    return fresh;
  }

  private closeMinutes(all: boolean): void {
    const now = Date.parse(this.core.clock.now());
    for (const [userId, tally] of [...this.tallies])
      if (all || Date.parse(tally.minute) + MINUTE <= now) this.close(userId, tally);
  }

  private close(userId: string, { key, minute, seen }: Tally): void {
    this.tallies.delete(userId);
    const count = seen - this.limits.perMinute;
    if (count <= 0) return;
    const id = this.core.ids.uuid();
    const requestId = `req-${id}` as RequestId;
    this.enqueue({
      key,
      event: { type: 'RefusalsCounted', data: { userId, minute, count } },
      context: {
        actor: { kind: 'service', service: 'api-gateway' },
        requestId,
        correlationId: requestId,
        causationId: null,
        commandId: `refusals/${id}` as CommandId,
      },
    });
  }

  private enqueue(pending: Pending): void {
    if (this.queue.length >= this.limits.queue) {
      this.totals.dropped++;
      return;
    }
    this.queue.push(pending);
    this.working ??= this.work().finally(() => {
      this.working = undefined;
    });
  }

  private async work(): Promise<void> {
    for (let next = this.queue[0]; next; next = this.queue[0]) {
      try {
        await this.core.commands.execute(refusals, next.key, next.event, next.context);
        this.totals.recorded++;
      } catch (error) {
        this.failed(error);
      }
      this.queue.shift();
    }
  }
}

/** Ids only: a secret that is part of a path stays out of the log. */
const targetsOf = (params: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(params)
      .filter(([name]) => !/token|secret|password/i.test(name))
      .map(([name, value]) => [name, value.slice(0, MAX_TEXT)]),
  );
