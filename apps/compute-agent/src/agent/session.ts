import { setMaxListeners } from 'node:events';
import { at, type Endpoint, hostBus } from '@omnivisor/contracts';
import type { z } from 'zod';
import { Leave } from './leave.js';
import type { AgentPorts } from './ports.js';

/** The log does not ask for a change (any more). */
export class NotAskedFor extends Error {
  constructor() {
    super('the log does not ask for this change');
    this.name = 'NotAskedFor';
  }
}

interface Waiting {
  readonly change: hostBus.HostChange;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * One session of the host: everything the agent says to the control plane goes through it. It is over when somebody ends
 * it, or when an answer says that it is no longer the host's.
 */
export class Session {
  private readonly over = new AbortController();
  private waiting: Waiting[] = [];
  private confirming = false;

  constructor(
    private readonly ports: Pick<AgentPorts, 'bus' | 'clock' | 'hostId'>,
    private readonly number: number,
  ) {
    // Everything that waits listens to it.
    setMaxListeners(0, this.over.signal);
  }

  /** Aborts when the session is over; its reason is the answer that said so. */
  get signal(): AbortSignal {
    return this.over.signal;
  }

  end(reason?: unknown): void {
    this.over.abort(reason);
  }

  /** @throws DomainError as the answer says; the signal's reason once the session is over */
  async ask<Q extends z.ZodType<unknown, { session: number }>, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    request: Omit<z.input<Q>, 'session'>,
  ): Promise<z.output<R>> {
    this.signal.throwIfAborted();
    try {
      const whole = { ...request, session: this.number } as z.input<Q>;
      return await this.ports.bus.request(endpoint, whole, at(endpoint, this.ports.hostId));
    } catch (error) {
      if (hostBus.isSessionEnded(error)) this.end(error);
      throw error;
    }
  }

  /** Leave for one change, of work that `signal` gives up. */
  leaveFor(change: hostBus.HostChange, signal: AbortSignal): Leave {
    return new Leave(() => this.confirm(change), this.ports.clock, signal);
  }

  /** Leave for what is not about one server: it asks for the session alone. */
  leave(): Leave {
    const ask = async () => void (await this.ask(hostBus.confirm, { changes: [] }));
    return new Leave(ask, this.ports.clock, this.signal);
  }

  /** Those that come while a question is under way are asked together in the next one. */
  private confirm(change: hostBus.HostChange): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ change, resolve, reject });
      if (!this.confirming) void this.confirmWaiting();
    });
  }

  private async confirmWaiting(): Promise<void> {
    this.confirming = true;
    while (this.waiting.length > 0) {
      const batch = this.waiting.splice(0, hostBus.MAX_CHANGES);
      try {
        const { confirmed } = await this.ask(hostBus.confirm, { changes: batch.map((w) => w.change) });
        for (const [i, { resolve, reject }] of batch.entries())
          if (confirmed[i]) resolve();
          else reject(new NotAskedFor());
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.confirming = false;
  }
}
