import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../services/process.mjs';
import { Client, readOpenrc } from '../start/client.mjs';
import { ROOT } from '../start/options.mjs';

const run = promisify(execFile);

/** A server as the API shows it, as far as tests look. */
export interface ApiServer {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly fault?: { readonly code: number; readonly message: string };
  readonly addresses: Readonly<Record<string, readonly { readonly addr: string }[]>>;
  readonly 'OS-EXT-STS:task_state': string | null;
  readonly 'OS-EXT-SRV-ATTR:host': string | null;
}

export interface CloudOptions {
  readonly agents?: number;
  readonly fakeHosts?: number;
  readonly gateways?: number;
  /** False: no demo project, network, flavors and image. */
  readonly bootstrap?: boolean;
  /** What its folder gets before it starts. */
  readonly prepare?: (home: string) => Promise<void>;
}

/** A real cloud on this machine, started by `npm start` in a folder of its own. */
export class RunningCloud {
  private constructor(
    readonly home: string,
    readonly port: number,
    private readonly flags: readonly string[],
    public admin: InstanceType<typeof Client>,
  ) {}

  static async start(options: CloudOptions = {}): Promise<RunningCloud> {
    const home = mkdtempSync(join(tmpdir(), 'ov-e2e-'));
    chmodSync(home, 0o755); // else its data would go where the services' user can search
    const port = await freePort();
    const flags = ['--detach', '--port', `${port}`];
    flags.push('--agents', `${options.agents ?? 0}`, '--fake-hosts', `${options.fakeHosts ?? 0}`);
    flags.push('--gateways', `${options.gateways ?? 1}`);
    if (options.bootstrap === false) flags.push('--skip-bootstrap');
    // Hosts that only pretend are content with an empty one.
    else if (!options.agents) flags.push('--skip-image');
    await options.prepare?.(home);
    await command(home, ['tools/start/start.mjs', ...flags]);
    return new RunningCloud(home, port, flags, await login(join(home, 'openrc')));
  }

  /** `npm stop`; `resume` starts it again with all it has. */
  async halt(options: { readonly guests?: boolean } = {}): Promise<void> {
    await command(this.home, ['tools/start/stop.mjs', ...(options.guests ? ['--guests'] : [])]);
  }

  async resume(): Promise<void> {
    await command(this.home, ['tools/start/start.mjs', ...this.flags]);
    this.admin = await login(join(this.home, 'openrc'));
  }

  /** A client of the demo user. */
  demo(): Promise<InstanceType<typeof Client>> {
    return login(join(this.home, 'openrc-demo'));
  }

  /** The same API through another replica. */
  async replica(index: number): Promise<InstanceType<typeof Client>> {
    const {
      OS_USERNAME: username = '',
      OS_PASSWORD: password = '',
      OS_PROJECT_NAME: project = '',
    } = readOpenrc(join(this.home, 'openrc'));
    return new Client({
      authUrl: `http://127.0.0.1:${this.port + index}/identity/v3`,
      username,
      password,
      project,
    }).authenticate();
  }

  /** Pids by name of what runs. */
  async pids(): Promise<Record<string, number>> {
    const { stdout } = await command(this.home, ['tools/start/status.mjs', '--json']);
    return Object.fromEntries((JSON.parse(stdout) as { name: string; pid: number }[]).map((p) => [p.name, p.pid]));
  }

  /** An image of zeros, enough for hosts that only pretend. @returns its id */
  async emptyImage(): Promise<string> {
    const { id } = await this.admin.post('image', '/images', {
      name: 'zero',
      disk_format: 'raw',
      container_format: 'bare',
    });
    await this.admin.put('image', `/images/${id}/file`, Buffer.alloc(1024 * 1024), {
      'content-type': 'application/octet-stream',
    });
    return id;
  }

  omnivisor(...args: string[]): Promise<{ stdout: string; stderr: string }> {
    return command(this.home, ['tools/start/omnivisor.mjs', ...args]);
  }

  /** Ids of the servers whose guests a fake host has. */
  fakeGuests(): string[] {
    const agents = join(this.home, 'data', 'agents');
    const folders = readdirSync(agents)
      .map((agent) => join(agents, agent, 'fake-guests'))
      .filter((folder) => existsSync(folder));
    return folders.flatMap((folder) =>
      readdirSync(folder)
        .filter((file) => file.endsWith('.json'))
        .map((file) => file.slice(0, -'.json'.length)),
    );
  }

  /** @param guests whether servers are powered off first: nobody does it once the agents have ended */
  async stop({ guests = true }: { readonly guests?: boolean } = {}): Promise<void> {
    await this.halt({ guests });
    this.remove();
  }

  /** What is left of it, once it is halted. */
  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Pids of a process and everything below it. */
export const family = (pid: number): number[] => {
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]?.split(' ')[1]) === pid;
      } catch {
        return false; // ended meanwhile
      }
    });
  return [pid, ...children.flatMap((child) => family(Number(child)))];
};

const login = (openrc: string) => {
  const env = readOpenrc(openrc);
  return new Client({
    authUrl: env.OS_AUTH_URL!,
    username: env.OS_USERNAME!,
    password: env.OS_PASSWORD!,
    project: env.OS_PROJECT_NAME!,
  }).authenticate();
};

const command = (home: string, args: string[]) =>
  run(process.execPath, args, {
    cwd: ROOT,
    env: { ...process.env, OMNIVISOR_HOME: home },
    timeout: 300_000,
    maxBuffer: 64 * 1024 * 1024,
  });

/** Asks again until it holds. @throws Error with what was seen last */
export const eventually = async <T>(
  what: string,
  look: () => Promise<T>,
  holds: (seen: T) => boolean,
  seconds = 60,
): Promise<T> => {
  const deadline = Date.now() + seconds * 1_000;
  let seen: unknown;
  while (Date.now() < deadline) {
    try {
      const now = await look();
      seen = now;
      if (holds(now)) return now;
    } catch (error) {
      seen = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(
    `not within ${seconds} s: ${what}; last seen: ${seen instanceof Error ? seen.message : JSON.stringify(seen)?.slice(0, 2_000)}`,
  );
};
