import { PassThrough, Writable } from 'node:stream';
import type { HostProcess, OpenProcess } from '../host-channel.js';

/** Of a request of the host script; what only looks changes nothing. */
export const isChange = (line: string): boolean =>
  !/^(Get|Measure|Open|Wait|Watch)-/.test(JSON.parse(line).cmdlet ?? 'Get-');

const nobody = (): HostProcess => ({
  input: new PassThrough(),
  output: new PassThrough().end(),
  ended: Promise.resolve('cut off'),
  kill: () => undefined,
});

/** Runs of the host script that can be cut off, as an agent's death does: what they were told goes on, and is not heard of. */
export class MortalProcesses {
  private readonly running = new Set<() => void>();
  private isCut = false;
  private changesLeft = Number.POSITIVE_INFINITY;

  over(start: OpenProcess): OpenProcess {
    return () => (this.isCut ? nobody() : this.mortal(start()));
  }

  cut(): void {
    this.isCut = true;
    for (const leave of this.running) leave();
  }

  /** When so many changes were told. */
  cutAfter(changes: number): void {
    this.changesLeft = changes;
  }

  mend(): void {
    this.isCut = false;
  }

  private mortal(child: HostProcess): HostProcess {
    const output = child.output.pipe(new PassThrough());
    const input = new Writable({
      decodeStrings: false,
      write: (line: string, _encoding, done) => {
        child.input.write(line, done);
        if (isChange(line) && --this.changesLeft === 0) this.cut();
      },
      final: (done) => {
        child.input.end();
        done();
      },
    });
    child.input.on('error', () => undefined);
    let leave = () => {};
    const left = new Promise<string>((resolve) => {
      leave = () => {
        // The script ends with its input, once it has done what was told before.
        child.input.end();
        child.output.unpipe(output).resume();
        output.end();
        resolve('cut off');
      };
    });
    this.running.add(leave);
    void child.ended.then(() => this.running.delete(leave));
    return {
      input,
      output,
      ended: Promise.race([child.ended, left]),
      kill: () => (this.isCut ? undefined : child.kill()),
    };
  }
}
