import { hostBus, hostOf, type Milliseconds, seconds, unavailable } from '@omnivisor/contracts';
import { parseJson } from '@omnivisor/openstack';
import type { Subscription } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import type { GatewayCore } from '../../core/gateway-core.js';

type Question = Exclude<z.input<typeof hostBus.Wake>, { kind: 'desired' }>;
type Answer = z.output<typeof hostBus.answer.request>;
/** A question without its id. */
type Unasked<Q> = Q extends unknown ? Omit<Q, 'question'> : never;

/** How long a host may take for a live question. */
const DEADLINE = seconds(10);

/**
 * The JSON that a host has answered with: what it says is not trusted to have any form.
 * @throws DomainError `unavailable` with these words when it is none of this shape
 */
export const toldBy = <S extends z.ZodType>({ ok, body }: Answer, shape: S, refusal: string): z.output<S> => {
  const parsed = ok ? shape.safeParse(parseJson(Buffer.from(body))?.value) : null;
  if (!parsed?.success) throw unavailable(refusal);
  return parsed.data;
};

/**
 * Questions about a running guest that a user waits for. They go out as wake-ups, because a host may only be woken; its
 * answer comes on its own subject, to every replica, and the one that asked takes it.
 */
export class LiveAnswers {
  private readonly open = new Map<string, { readonly host: string; readonly take: (answer: Answer) => void }>();
  private subscription: Subscription | undefined;

  constructor(private readonly core: GatewayCore) {}

  async start(): Promise<void> {
    this.subscription = await this.core.bus.respond(hostBus.answer, async (answer, subject) => {
      const question = this.open.get(answer.question);
      // Only the host that was asked can answer.
      if (question?.host === hostOf(subject)) question.take(answer);
      return {};
    });
  }

  async stop(): Promise<void> {
    await this.subscription?.close();
  }

  /** @throws DomainError `unavailable` when the host does not answer */
  async ask(hostId: string, question: Unasked<Question>, deadline: Milliseconds = DEADLINE): Promise<Answer> {
    const id = this.core.ids.uuid();
    let cancel = () => {};
    try {
      return await new Promise<Answer>((resolve, reject) => {
        cancel = this.core.clock.after(deadline, () => reject(unavailable('the host does not answer')));
        this.open.set(id, { host: hostId, take: resolve });
        this.core.bus.publish(hostBus.wakeSubject(hostId), { ...question, question: id });
      });
    } finally {
      cancel();
      this.open.delete(id);
    }
  }
}
