import {
  AdminReply,
  AdminRequest,
  adminSubject,
  type CommandContext,
  type CommandId,
  endpoint,
  type RequestId,
} from '@omnivisor/contracts';
import type { Bus, Ids, Subscription } from '@omnivisor/platform/ports';

/** Who acts when the command line does. */
export const OPERATOR = 'omnivisor-cli';

/** Contexts of the steps of one command of an operator. */
export const operatorContexts = (ids: Ids): ((step?: string) => CommandContext) => {
  const requestId = `req-${ids.uuid()}` as RequestId;
  return (step) => ({
    actor: { kind: 'service', service: OPERATOR },
    requestId,
    correlationId: requestId,
    causationId: null,
    commandId: `${requestId}${step === undefined ? '' : `:${step}`}` as CommandId,
  });
};

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
