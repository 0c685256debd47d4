import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, type RunningCloud } from '../e2e/running-cloud.js';
import { freePort } from '../services/process.mjs';
import { spawnOurs } from './children.js';

export interface ReplicaOptions {
  /** What of its environment is another than that of the service beside which it runs. */
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the program: it gets the program and its arguments after its own. */
  readonly by?: readonly string[];
  /** Where its health can be asked for. */
  readonly address?: string;
}

const LOCAL = '127.0.0.1';

const partsOf = (pid: number, file: 'cmdline' | 'environ') =>
  readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').slice(0, -1);

/** A process beside one that the supervisor keeps: the same program, environment and user, on ports of its own. */
export class Replica {
  private child: ChildProcess | undefined;

  private constructor(
    readonly name: string,
    readonly port: number,
    readonly healthPort: number,
    private readonly begin: (options: ReplicaOptions) => ChildProcess,
    private options: ReplicaOptions,
  ) {}

  static async beside(cloud: RunningCloud, service: string, options: ReplicaOptions = {}): Promise<Replica> {
    const pid = (await cloud.pids())[service]!;
    const [program, ...args] = partsOf(pid, 'cmdline');
    const { uid, gid } = statSync(`/proc/${pid}`);
    const inherited = Object.fromEntries(
      partsOf(pid, 'environ').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
    const [port, healthPort] = [await freePort(), await freePort()];
    const name = `${service}-beside-${port}`;
    const begin = ({ env = {}, by = [], address = LOCAL }: ReplicaOptions) => {
      const log = openSync(join(cloud.home, 'log', `${name}.log`), 'a');
      const [command, ...rest] = [...by, program!, ...args];
      try {
        return spawnOurs(command!, rest, {
          cwd: '/',
          env: {
            ...inherited,
            OMNIVISOR_PORT: `${port}`,
            OMNIVISOR_HEALTH_PORT: `${healthPort}`,
            OMNIVISOR_HEALTH_LISTEN: address,
            ...env,
          },
          stdio: ['ignore', log, log],
          ...(by.length > 0 ? {} : { uid, gid }),
        });
      } finally {
        closeSync(log);
      }
    };
    const replica = new Replica(name, port, healthPort, begin, options);
    await replica.start();
    return replica;
  }

  async start(): Promise<void> {
    this.child = this.begin(this.options);
    await eventually(`${this.name} is ready`, () => isReady(this.healthPort, this.options.address), Boolean);
  }

  /** As a rolling update does: asked to end, waited for, and started again, perhaps as another release. */
  async restart(options = this.options): Promise<void> {
    await this.stop();
    this.options = options;
    await this.start();
  }

  /** @throws Error when it did not end by itself and in order */
  async stop(): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`${this.name} ended with ${code}`);
  }
}

export const isReady = async (healthPort: number, address = LOCAL): Promise<boolean> => {
  try {
    return (await fetch(`http://${address}:${healthPort}/health/ready`, { signal: AbortSignal.timeout(1_000) })).ok;
  } catch {
    return false;
  }
};
