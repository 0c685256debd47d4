import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { readOpenrc } from '../start/client.mjs';
import type { Client } from '../test/clients.mjs';

const SCRIPT = fileURLToPath(new URL('./openstack-session.py', import.meta.url));

interface Answer {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** One process of the `openstack` client, with the login of an openrc. */
export class OpenStackSession {
  private readonly waiting: ((answer: Answer) => void)[] = [];

  private constructor(private readonly child: ChildProcess) {
    createInterface({ input: child.stdout! }).on('line', (line) => this.waiting.shift()?.(JSON.parse(line) as Answer));
    child.on('exit', (code) => {
      for (const answer of this.waiting.splice(0))
        answer({ status: -1, out: '', err: `the client ended with ${code}` });
    });
  }

  static start({ python, env }: Client, openrc: string): OpenStackSession {
    const usual = Object.entries(process.env).filter(([name]) => !name.startsWith('OS_'));
    return new OpenStackSession(
      spawn(python, ['-s', '-u', SCRIPT], {
        env: { ...Object.fromEntries(usual), ...env, ...readOpenrc(openrc) },
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
  }

  /** @returns what it printed; with `-f json` read. @throws Error with what it said when it failed */
  // biome-ignore lint/suspicious/noExplicitAny: specs look into answers freely
  async run(command: string, ...more: string[]): Promise<any> {
    const args = [...command.split(' '), ...more];
    const { status, out, err } = await new Promise<Answer>((resolve) => {
      this.waiting.push(resolve);
      this.child.stdin!.write(`${JSON.stringify(args)}\n`);
    });
    if (status !== 0) throw new Error(`openstack ${args.join(' ')}: ${err.trim().slice(-500)}`);
    return args.includes('json') ? JSON.parse(out) : out.trim();
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.stdin!.end();
    await ended;
  }
}
