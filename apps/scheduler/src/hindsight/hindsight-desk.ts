import { AdminReply, AdminRequest, adminSubject, argumentsOf, endpoint } from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform/ports';
import { z } from 'zod';
import type { ActivePart, SchedulerCore } from '../core/scheduler-core.js';
import { Changes } from './alternative.js';
import { recompute } from './recompute.js';
import { whatIf } from './what-if.js';

const LONG = 600_000;
const MAX_DECISIONS = 100;
const Recompute = z.object({ positions: z.array(z.number().int().positive()).max(MAX_DECISIONS) });
const position = z.number().int().nonnegative();
const Ask = z.object({ from: position, to: position, changes: Changes });

/** Answers operators about decisions of the past: `admin.scheduler.placement-…`. */
export class HindsightDesk implements ActivePart {
  readonly name = 'hindsight';
  private readonly subscriptions: Subscription[] = [];

  constructor(private readonly core: SchedulerCore) {}

  async start(): Promise<void> {
    await this.serve('placement-recompute', Recompute, ({ positions }) =>
      recompute(this.core.store, this.core.settings, positions),
    );
    await this.serve('placement-what-if', Ask, ({ from, to, changes }) =>
      whatIf(this.core.store, this.core.settings, from, to, changes),
    );
  }

  async stop(): Promise<void> {
    for (const subscription of this.subscriptions.splice(0)) await subscription.close();
  }

  private async serve<S extends z.ZodType>(
    command: string,
    schema: S,
    handler: (args: z.output<S>) => Promise<unknown>,
  ): Promise<void> {
    const served = endpoint(adminSubject('scheduler', command), AdminRequest, AdminReply, LONG);
    this.subscriptions.push(
      await this.core.bus.respond(served, async ({ args }) => ({
        ok: true,
        result: await handler(argumentsOf(schema, args)),
      })),
    );
  }
}
