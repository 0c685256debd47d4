import type { Logger } from '../logging/logger.js';

export interface LifecycleOptions {
  readonly logger: Pick<Logger, 'info' | 'error' | 'fatal'>;
  /** Milliseconds a stop may take before the process ends anyway. */
  readonly grace?: number;
  /** `process` when not given. */
  readonly signals?: Pick<NodeJS.EventEmitter, 'once' | 'on'>;
  readonly exit?: (code: number) => void;
}

/**
 * Ends a service in order on SIGTERM and SIGINT: closers run in the reverse order of their making, each although one
 * before it failed. A second signal, or the end of the grace, ends it at once.
 */
export class Lifecycle {
  private readonly closers: { name: string; close: () => unknown }[] = [];
  private stopping: Promise<boolean> | undefined;

  constructor(private readonly options: LifecycleOptions) {
    const signals = options.signals ?? process;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) signals.on(signal, () => this.signalled(signal));
    signals.on('uncaughtException', (err: unknown) => this.broken(err));
    signals.on('unhandledRejection', (err: unknown) => this.broken(err));
  }

  onStop(name: string, close: () => unknown): void {
    this.closers.push({ name, close });
  }

  /** @returns false when a closer failed */
  stop(): Promise<boolean> {
    this.stopping ??= this.run();
    return this.stopping;
  }

  private async run(): Promise<boolean> {
    let clean = true;
    for (const { name, close } of this.closers.reverse()) {
      try {
        await close();
      } catch (err) {
        clean = false;
        this.options.logger.error({ err }, `stopping ${name} failed`);
      }
    }
    return clean;
  }

  /** Stops, within the grace, and ends the process with `code`; with 1 when it did not stop cleanly. */
  async end(code: number, reason: string): Promise<void> {
    const exit = this.options.exit ?? process.exit;
    this.options.logger.info(`${reason}: stopping`);
    const timer = setTimeout(() => exit(1), this.options.grace ?? 15_000);
    const clean = await this.stop();
    clearTimeout(timer);
    exit(clean ? code : 1);
  }

  private signalled(signal: string): void {
    if (this.stopping) (this.options.exit ?? process.exit)(1);
    else void this.end(0, signal);
  }

  /** Nobody knows in which state an unforeseen error left the process: it ends, and is started again. */
  private broken(err: unknown): void {
    this.options.logger.fatal({ err }, 'unforeseen error');
    (this.options.exit ?? process.exit)(70);
  }
}
