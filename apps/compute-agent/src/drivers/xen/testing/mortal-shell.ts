import type { HostShell, ShellProcess } from '../host-shell.js';

/** What takes a guest's lock may change something; the rest only looks. */
const isChange = (script: string): boolean => script.includes('flock -w "$wait"');

/** Can be cut off, as the death of an agent does: what runs in dom0 goes on, and is not heard of any more. */
export class MortalShell implements HostShell {
  private isCut = false;
  private changesLeft = Number.POSITIVE_INFINITY;

  constructor(private readonly shell: HostShell) {}

  get isRemote(): boolean {
    return this.shell.isRemote;
  }

  cut(): void {
    this.isCut = true;
  }

  /** When so many changes have begun: the last of them goes to its end unheard. */
  cutAfter(changes: number): void {
    this.changesLeft = changes;
  }

  mend(): void {
    this.isCut = false;
  }

  start(script: string, args: readonly string[]): ShellProcess {
    if (!this.isCut && isChange(script)) this.count(script, args);
    return this.isCut ? this.shell.start('exit 255', []) : this.shell.start(script, args);
  }

  close(): void {
    this.shell.close();
  }

  private count(script: string, args: readonly string[]): void {
    if (this.changesLeft === 1) {
      const unheard = this.shell.start(script, args);
      unheard.stdin.on('error', () => undefined).end();
      for (const output of [unheard.stdout, unheard.stderr]) output.resume();
    }
    this.isCut = this.changesLeft <= 1;
    this.changesLeft--;
  }
}
