import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { buildVcsim } from '../../../../../../tools/doubles/vcsim/build.mjs';

const built = await buildVcsim();

/** Why there is no simulator here; null when there is one. */
export const noSimulator: string | null = built.path === null ? built.reason : null;

/** A vCenter that runs as long as the specs of one file. */
export class Simulator {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {}

  static async start(...args: string[]): Promise<Simulator> {
    if (built.path === null) throw new Error(built.reason);
    const child = spawn(built.path, args, { stdio: 'pipe' });
    // It logs each fault; only the last words of one that broke off are of interest.
    let said = '';
    child.stderr.on('data', (part: Buffer) => {
      said = `${said}${part}`.slice(-4_000);
    });
    child.once('exit', (code) => {
      if (code !== 0) console.error(said);
    });
    const [url] = (await once(createInterface(child.stdout), 'line')) as [string];
    return new Simulator(child, url);
  }

  /** Makes the next calls of a method fail, after some that do not. */
  async failNext(method: string, fault: string, times = 1, after = 0): Promise<void> {
    const body = JSON.stringify({ Method: method, Fault: fault, Times: times, After: after });
    const answer = await fetch(`${this.url}/faults`, { method: 'POST', body });
    if (!answer.ok) throw new Error(await answer.text());
  }

  /** The vCenter loses an ESXi host, or finds it again. */
  async connect(host: string, connected: boolean): Promise<void> {
    const body = JSON.stringify({ Host: host, Connected: connected });
    const answer = await fetch(`${this.url}/connection`, { method: 'POST', body });
    if (!answer.ok) throw new Error(await answer.text());
  }

  async failNoMore(): Promise<void> {
    await fetch(`${this.url}/faults`, { method: 'DELETE' });
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.stdin!.end();
    await ended;
  }
}
