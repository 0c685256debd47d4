import { ms } from '@omnivisor/contracts';
import type { ActivePart, SchedulerCore } from '../core/scheduler-core.js';
import type { Release } from '../core/world.js';
import { claimKey } from './provider/provider.js';

const RETRY = ms(1_000);

/**
 * Ends the claims that the log says have to end. What is left to do follows from the log alone, so a restart or another
 * scheduler goes on where this one stopped; releasing twice has one effect.
 */
export class Releases implements ActivePart {
  readonly name = 'releases';
  private on = false;
  private running: Promise<void> | undefined;
  private retrying = false;
  private cancelRetry = () => {};

  constructor(private readonly core: SchedulerCore) {
    core.observe(() => this.wake());
  }

  async start(): Promise<void> {
    this.on = true;
    this.retrying = false;
    this.wake();
  }

  async stop(): Promise<void> {
    this.on = false;
    this.cancelRetry();
    await this.running;
  }

  private wake(): void {
    if (!this.on || this.running || this.core.world.releases.size === 0) return;
    this.running = this.run().finally(() => {
      this.running = undefined;
      if (!this.retrying) this.wake();
    });
  }

  private async run(): Promise<void> {
    try {
      while (this.on && this.core.world.releases.size > 0) {
        const due = [...this.core.world.releases.values()];
        await Promise.all(due.map((release) => this.release(release)));
        await this.core.fresh();
      }
    } catch (error) {
      this.core.onError('releasing claims', error);
      this.retrying = true;
      this.cancelRetry = this.core.clock.after(RETRY, () => {
        this.retrying = false;
        this.wake();
      });
    }
  }

  private async release({ providerId, serverId, attempt, reason, cause }: Release): Promise<void> {
    await this.core.providers.execute(
      { type: 'release', providerId, serverId, attempt, reason },
      this.core.context(`release:${providerId}:${claimKey(serverId, attempt)}`, cause),
    );
  }
}
