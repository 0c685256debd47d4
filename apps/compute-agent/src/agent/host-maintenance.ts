import { hostBus } from '@omnivisor/contracts';
import type { z } from 'zod';
import { type HypervisorError, type Maintenance, memberOf } from '../drivers/hypervisor-driver.js';
import type { AgentPorts } from './ports.js';
import type { Session } from './session.js';

type Wish = NonNullable<z.output<typeof hostBus.beat.reply>['maintenance']>;

const MOST_WORDS = 2_000;

/**
 * Has the hypervisor empty the host, or take it back, as operators ask by way of the answers to beats. These ask until they are
 * told that it is done, so whatever is lost, also with the agent, is begun again.
 */
export class HostMaintenance {
  private current: { readonly generation: number; readonly abort: AbortController } | undefined;
  private last: Promise<void> = Promise.resolve();

  constructor(
    private readonly ports: Pick<AgentPorts, 'driver' | 'onError'>,
    private readonly session: Session,
  ) {}

  /** What is under way already goes on; what was asked for before is given up, and has ended when the next begins. */
  wants(wish: Wish): void {
    if (this.current?.generation === wish.generation) return;
    this.current?.abort.abort();
    const abort = new AbortController();
    this.current = { generation: wish.generation, abort };
    const signal = AbortSignal.any([abort.signal, this.session.signal]);
    this.last = this.last.then(() => this.carryOut(wish, signal));
  }

  private async carryOut(wish: Wish, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    try {
      await this.session.leave().step();
      const error = await this.try(wish, signal);
      if (signal.aborted) return;
      await this.session.ask(hostBus.maintained, { generation: wish.generation, error });
    } catch (error) {
      if (signal.aborted) return;
      this.ports.onError('maintenance of the host', error);
      this.current = undefined;
    }
  }

  /** @returns why it was not done; null when it was */
  private async try({ on }: Wish, signal: AbortSignal): Promise<string | null> {
    try {
      signal.throwIfAborted();
      const maintenance = memberOf(this.ports.driver, 'maintenance');
      await (on ? this.enter(maintenance, signal) : maintenance.leave());
      return null;
    } catch (error) {
      if (signal.aborted) return null;
      this.ports.onError(on ? 'emptying the host' : 'taking the host back', error);
      return wordsOf(error).slice(0, MOST_WORDS);
    }
  }

  /** A host that could not be emptied takes guests again. One that was given up is left to who comes next. */
  private async enter(maintenance: Maintenance, signal: AbortSignal): Promise<void> {
    try {
      await maintenance.enter(signal);
    } catch (error) {
      if (signal.aborted) throw error;
      await maintenance.leave().catch((other: unknown) => {
        const words = `${wordsOf(error)}; whether it takes guests again is not known: ${wordsOf(other)}`;
        throw new Error(words, { cause: error });
      });
      throw error;
    }
  }
}

/** For operators, who know their pool by its own words. */
const wordsOf = (error: unknown): string => {
  const { message, native } = error as Error & Pick<HypervisorError, 'native'>;
  return native ? `${message}: ${native}` : message;
};
