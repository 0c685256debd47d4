import { backoff, ms, seconds } from '@omnivisor/contracts';
import type { ActivePart, SchedulerCore } from '../../core/scheduler-core.js';

/** @throws DomainError `unavailable` */
export type RevokeKeys = (keys: readonly string[]) => Promise<void>;

const LONGEST = { longest: seconds(30) };

/**
 * Has the bus refuse the keys of hosts that are retired and of readers that are revoked. The log says which; the bus may forget them when it ends, so they
 * are told again when it is back.
 */
export class RetiredKeys implements ActivePart {
  readonly name = 'retired keys';
  private on = false;
  private told = 0;
  private failures = 0;
  private telling: Promise<void> | undefined;
  private cancel = () => {};
  private forget = () => {};

  constructor(
    private readonly core: SchedulerCore,
    private readonly revoke: RevokeKeys,
  ) {
    core.observe(() => this.tell());
  }

  async start(): Promise<void> {
    this.on = true;
    this.forget = this.core.bus.onRestored(() => this.tellAll());
    this.tellAll();
  }

  async stop(): Promise<void> {
    this.on = false;
    this.cancel();
    this.forget();
    await this.telling;
  }

  private tellAll(): void {
    this.told = 0;
    this.tell();
  }

  private tell(): void {
    const keys = [...this.core.world.retiredKeys];
    if (!this.on || this.telling || keys.length === this.told) return;
    this.cancel();
    this.telling = this.revoke(keys)
      .then(
        () => this.done(keys.length),
        (error) => this.failed(error),
      )
      .finally(() => {
        this.telling = undefined;
      });
  }

  private done(told: number): void {
    this.told = told;
    this.failures = 0;
    // Another host may have been retired meanwhile.
    this.cancel = this.core.clock.after(ms(0), () => this.tell());
  }

  private failed(error: unknown): void {
    this.core.onError('revoking keys', error);
    this.cancel = this.core.clock.after(backoff(this.failures++, 0.5, LONGEST), () => this.tell());
  }
}
