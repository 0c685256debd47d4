import type { Clock } from '@omnivisor/platform/ports';
import { Life } from './life.js';

/** What runs in a process. */
export interface Service {
  /** Ends it as an operator would. */
  stop(): Promise<void>;
}

/** One process under its supervisor, which starts it again when it dies. */
export class SupervisedProcess {
  life: Life;
  /** It ended for good: another one has its place. */
  retired = false;
  private service: Service | undefined;
  private lives = 0;

  /** @param begin starts what runs in it; a failure ends the process */
  constructor(
    readonly name: string,
    private readonly world: { readonly clock: Clock; note(line: string): void; pause(): number; isHeld(): boolean },
    private readonly begin: (life: Life, process: SupervisedProcess) => Promise<Service>,
  ) {
    this.life = this.start();
  }

  start(): Life {
    const life = new Life(`${this.name}.${++this.lives}`, (line) => this.world.note(line));
    this.life = life;
    this.service = undefined;
    life.onEnd(() => {
      if (this.retired || this.world.isHeld()) return;
      this.world.clock.after(this.world.pause() as Parameters<Clock['after']>[0], () => {
        if (!this.retired && !this.life.alive && !this.world.isHeld()) this.start();
      });
    });
    this.begin(life, this).then(
      (service) => {
        this.service = service;
      },
      (error) => life.die(`it did not start: ${error}`),
    );
    return life;
  }

  /** Stops the service gently, then the process ends; one that has none yet just ends. */
  async stop(): Promise<void> {
    const { life, service } = this;
    await service?.stop().catch(() => {});
    life.die('stopped');
  }
}
