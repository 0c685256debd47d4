import { schedulerState } from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform/ports';
import type { ActivePart, SchedulerCore } from './scheduler-core.js';

/** Answers whether there is a scheduler: those that stand by are silent. */
export class Presence implements ActivePart {
  readonly name = 'presence';
  private subscription: Subscription | undefined;

  constructor(private readonly core: SchedulerCore) {}

  async start(): Promise<void> {
    this.subscription = await this.core.bus.respond(schedulerState, async () => ({
      decides: this.core.failure === undefined,
    }));
  }

  async stop(): Promise<void> {
    await this.subscription?.close();
  }
}
