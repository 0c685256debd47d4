import { AdminReply, AdminRequest, adminSubject, endpoint } from '@omnivisor/contracts';
import type { Bus, Subscription } from '@omnivisor/platform/ports';

type Handler = (args: Record<string, unknown>) => Promise<unknown>;

/** Answers the command line: `admin.api-gateway.<command>`, by whichever replica is asked. */
export class AdminCommands {
  private readonly subscriptions: Subscription[] = [];

  constructor(private readonly bus: Bus) {}

  /** @param timeout milliseconds that an answer may take */
  async serve(command: string, handler: Handler, timeout?: number): Promise<void> {
    const e = endpoint(adminSubject('api-gateway', command), AdminRequest, AdminReply, timeout);
    this.subscriptions.push(
      await this.bus.respond(e, async ({ args }) => ({ ok: true, result: await handler(args) }), {
        queue: 'api-gateway',
      }),
    );
  }

  async stop(): Promise<void> {
    for (const subscription of this.subscriptions) await subscription.close();
  }
}
