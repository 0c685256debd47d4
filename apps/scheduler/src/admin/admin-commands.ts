import { AdminReply, AdminRequest, adminSubject, type CommandContext, endpoint } from '@omnivisor/contracts';
import type { Bus, Subscription } from '@omnivisor/platform/ports';
import { z } from 'zod';
import type { SchedulerCore } from '../core/scheduler-core.js';

/** Public half of a NATS user key. */
export const UserKey = z.string().regex(/^U[A-Z2-7]{55}$/, 'is no NATS user key');

export type Command = (args: Record<string, unknown>) => Promise<unknown>;

/** What operators ask of the scheduler over NATS: `admin.scheduler.<command>`. */
export class AdminCommands {
  private subscriptions: Subscription[] = [];

  constructor(
    private readonly bus: Bus,
    private readonly commands: Readonly<Record<string, Command>>,
  ) {}

  async start(): Promise<void> {
    for (const [name, command] of Object.entries(this.commands)) {
      const served = endpoint(adminSubject('scheduler', name), AdminRequest, AdminReply);
      this.subscriptions.push(
        await this.bus.respond(served, async ({ args }) => ({ ok: true, result: await command(args) })),
      );
    }
  }

  async stop(): Promise<void> {
    for (const subscription of this.subscriptions.splice(0)) await subscription.close();
  }
}

/** Of one command of an operator. */
export const operatorContext = (core: SchedulerCore): CommandContext => ({
  ...core.context(core.ids.uuid()),
  actor: { kind: 'service', service: 'omnivisor-cli' },
});
