import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildVcsim } from '../doubles/vcsim/build.mjs';
import { eventually, type RunningCloud } from './running-cloud.js';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const at = (path: string) => join(ROOT, path);

export const PHYSICAL_NETWORK = 'physnet1';

/** Milliseconds that a hypervisor which moves guests by itself takes for one: long enough to be met in the middle. */
const MOVE_TIME = 1_200;

type Environment = Readonly<Record<string, string>>;
type Kind = 'fake' | 'qemu' | 'vsphere' | 'xenserver' | 'hyperv';

/** Hypervisors of one kind between which guests move; an agent can be pointed at each. */
interface Pair {
  readonly backend: string;
  readonly environments: readonly [Environment, Environment];
  /** Whether the hypervisors are about to move a guest; absent where one process answers for all. */
  readonly isMoving?: (id: string) => Promise<boolean>;
}

interface AgentProcess {
  readonly child: ChildProcess;
  readonly start: () => Promise<void>;
}

/** A VM, or a disk, of a pool. */
interface PoolObject {
  readonly name_label: string;
  readonly other_config: object;
  readonly current_operations: Readonly<Record<string, string>>;
  readonly power_state?: string;
}

/** What a pool has with a server's mark on it. */
const ofServer = async (url: string, kind: 'VM' | 'VDI', id: string): Promise<PoolObject[]> => {
  const call = async (method: string, ...params: readonly unknown[]) => {
    const response = await fetch(new URL('/jsonrpc', url), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    return ((await response.json()) as { result: never }).result;
  };
  const session = await call('session.login_with_password', 'root', 'secret', '1.0', 'test');
  const all: Record<string, PoolObject> = await call(`${kind}.get_all_records`, session);
  return Object.values(all).filter(({ other_config: config }) => JSON.stringify(config).includes(id));
};

const isMovedByXapi = async (url: string, id: string): Promise<boolean> =>
  (await ofServer(url, 'VM', id)).some(({ current_operations: now }) =>
    Object.values(now).some((operation) => /migrate/.test(operation)),
  );

/** Two hypervisors of each kind beside a cloud, and an agent for the first of each, or for both. */
export class AllHypervisors {
  readonly folder = mkdtempSync(join(tmpdir(), 'ov-all-'));
  /** Names of the hosts: the kinds, and later the second of each. */
  readonly hosts: string[] = [];
  private readonly pairs = new Map<string, Pair>();
  private readonly agents = new Map<string, AgentProcess>();
  /** Why a kind is not there. */
  readonly missing: string[] = [];
  private readonly children: ChildProcess[] = [];
  private readonly bridge = `ovx${process.pid}`;
  private pool = '';

  private constructor(
    private readonly cloud: RunningCloud,
    private readonly seconds: number,
    private readonly poolSettings: object,
  ) {}

  /**
   * @param kinds that run here @param others hypervisors that run elsewhere @param seconds for all to be taken up
   * @param poolSettings of the double of XAPI, besides those that it needs
   */
  static async start(
    cloud: RunningCloud,
    kinds: readonly Kind[] = ['fake', 'qemu', 'vsphere', 'xenserver', 'hyperv'],
    others: readonly Pair[] = [],
    seconds = 60,
    poolSettings: object = {},
  ): Promise<AllHypervisors> {
    const all = new AllHypervisors(cloud, seconds, poolSettings);
    const started: Record<Kind, () => Promise<Pair | null>> = {
      fake: () => all.fake(),
      qemu: () => all.qemu(),
      vsphere: () => all.vsphere(),
      xenserver: () => all.xenserver(),
      hyperv: () => all.hyperv(),
    };
    try {
      const pairs = [...(await Promise.all(kinds.map((kind) => started[kind]()))), ...others];
      for (const pair of pairs) if (pair) all.pairs.set(pair.backend, pair);
      await Promise.all([...all.pairs.values()].map((pair) => all.enroll(pair.backend, pair, 0)));
      await all.areUp();
    } catch (error) {
      await all.stop();
      throw error;
    }
    return all;
  }

  /** Agents for the second of each kind: `qemu-2` beside `qemu`. */
  async double(): Promise<void> {
    await Promise.all([...this.pairs.values()].map((pair) => this.enroll(`${pair.backend}-2`, pair, 1)));
    await this.areUp();
  }

  /** Whether a server's guest is on its way right now; undefined where that cannot be seen. */
  isMoving(kind: string, id: string): Promise<boolean> | undefined {
    return this.pairs.get(kind)?.isMoving?.(id);
  }

  /** Power of the VMs, and names of the disks, that the pool of XenServer has of a server. */
  async inPool(id: string): Promise<{ readonly vms: readonly string[]; readonly disks: readonly string[] }> {
    const [vms, disks] = [await ofServer(this.pool, 'VM', id), await ofServer(this.pool, 'VDI', id)];
    return {
      vms: vms.map(({ power_state: power }) => power ?? '').sort(),
      disks: disks.map(({ name_label: name }) => name.replace(`${id} `, '')).sort(),
    };
  }

  /** Kills an agent. @returns starts it again */
  async crash(host: string): Promise<() => Promise<void>> {
    const { child, start } = this.agents.get(host)!;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    return start;
  }

  async stop(): Promise<void> {
    for (const child of [...this.children].reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.stdin?.end();
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    await run('ip', ['link', 'delete', 'dev', this.bridge]).catch(() => undefined);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** What an agent said, for a failure. */
  log(host: string): string {
    return readFileSync(join(this.folder, `${host}.log`), 'utf8').slice(-4_000);
  }

  private async fake(): Promise<Pair> {
    const environment = { OMNIVISOR_BRIDGES: `${PHYSICAL_NETWORK}=none` };
    return { backend: 'fake', environments: [environment, environment] };
  }

  private async qemu(): Promise<Pair> {
    await run('ip', ['link', 'add', 'name', this.bridge, 'type', 'bridge', 'forward_delay', '0']);
    await run('ip', ['link', 'set', 'dev', this.bridge, 'up']);
    const environment = { OMNIVISOR_BRIDGES: `${PHYSICAL_NETWORK}=${this.bridge}` };
    return { backend: 'qemu', environments: [environment, environment] };
  }

  private async vsphere(): Promise<Pair | null> {
    const built = await buildVcsim();
    if (built.path === null) {
      this.missing.push(`vsphere: ${built.reason}`);
      return null;
    }
    const [url] = await this.program(built.path, ['-relocation', `${MOVE_TIME}`]);
    const environment = (member: string) => ({
      OMNIVISOR_VSPHERE_URL: url!,
      OMNIVISOR_VSPHERE_USER: 'omnivisor',
      OMNIVISOR_VSPHERE_PASSWORD_FILE: this.file('vsphere.password', 'secret\n'),
      OMNIVISOR_VSPHERE_MEMBER: member,
      OMNIVISOR_VSPHERE_NETWORKS: `${PHYSICAL_NETWORK}=DVS0`,
      OMNIVISOR_VSPHERE_CREATE_PORT_GROUPS: 'true',
    });
    return {
      backend: 'vsphere',
      environments: [environment('DC0_C0_H0'), environment('DC0_C0_H1')],
      isMoving: async () => ((await (await fetch(`${url}/moving`)).json()) as string[]).length > 0,
    };
  }

  private async xenserver(): Promise<Pair> {
    const members = ['127.0.0.1', '127.0.0.2'] as const;
    const settings = this.file(
      'pool.json',
      JSON.stringify({
        ...{ stateDir: join(this.folder, 'pool'), addresses: members },
        latencies: { pool_migrate: MOVE_TIME, migrate_send: MOVE_TIME },
        ...this.poolSettings,
      }),
    );
    const [line] = await this.program(process.execPath, [at('tools/doubles/xapi/main.mjs'), settings]);
    const { url } = JSON.parse(line!);
    this.pool = url;
    const environment = (member: string) => ({
      OMNIVISOR_XENSERVER_URLS: url,
      OMNIVISOR_XENSERVER_USER: 'root',
      OMNIVISOR_XENSERVER_PASSWORD_FILE: this.file('xenserver.password', 'secret\n'),
      OMNIVISOR_XENSERVER_MEMBER: member,
      OMNIVISOR_XENSERVER_NETWORKS: `${PHYSICAL_NETWORK}=eth1`,
    });
    return {
      backend: 'xenserver',
      environments: [environment(members[0]), environment(members[1])],
      isMoving: (id) => isMovedByXapi(url, id),
    };
  }

  /** Where the agent calls ssh, it gets the double's PowerShell. */
  private async hyperv(): Promise<Pair> {
    const [one, two] = ['HV1', 'HV2'].map((name) => join(this.folder, name));
    const facts = (name: string, other: string) => {
      const delegatesTo = [`Microsoft Virtual System Migration Service/${other}.corp.example`];
      const migration = { enabled: true, authentication: 'Kerberos', delegatesTo };
      return ['--facts', JSON.stringify({ name, domain: 'corp.example', migration })];
    };
    const sockets = await this.program(
      process.execPath,
      [
        ...[at('tools/doubles/hyperv/serve.mjs'), one!, two!, '--disks', '--move-time', `${MOVE_TIME}`],
        ...[...facts('HV1', 'HV2'), ...facts('HV2', 'HV1')],
      ],
      2,
    );
    const powershell = `${process.execPath} ${at('tools/doubles/hyperv/powershell.mjs')}`;
    const [first, second] = sockets.map((socket, i) => {
      const bin = join(this.folder, `bin-${i}`);
      mkdirSync(bin);
      writeFileSync(join(bin, 'ssh'), `#!/bin/sh\nOMNIVISOR_HYPERV_DOUBLE=${socket} exec ${powershell}\n`, {
        mode: 0o755,
      });
      return {
        PATH: `${bin}:${process.env.PATH}`,
        OMNIVISOR_HYPERV_HOSTS: 'omnivisor@127.0.0.1',
        OMNIVISOR_HYPERV_SWITCHES: `${PHYSICAL_NETWORK}=External`,
      };
    });
    const marks = (folder: string) => join(folder, 'C/ProgramData/Omnivisor/marks', basename(folder));
    return {
      backend: 'hyperv',
      environments: [first!, second!],
      isMoving: async (id) => [one!, two!].some((folder) => existsSync(join(marks(folder), `${id}.sending`))),
    };
  }

  private file(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }

  /** @returns the first lines that it says */
  private async program(command: string, args: readonly string[], lines = 1): Promise<string[]> {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    this.children.push(child);
    const said: string[] = [];
    for await (const line of createInterface(child.stdout)) if (said.push(line) === lines) break;
    return said;
  }

  private async enroll(name: string, { backend, environments }: Pair, which: 0 | 1): Promise<void> {
    const credentials = join(this.folder, `${name}.creds`);
    const enrolled = await this.cloud.omnivisor('host', 'enroll', name, '--out', credentials, '--json');
    this.hosts.push(name);
    const hostId = JSON.parse(enrolled.stdout).hostId as string;
    const start = () => this.agent(name, { backend, credentials, hostId, ...environments[which] }, start);
    await start();
  }

  private async agent(
    name: string,
    {
      backend,
      credentials,
      hostId,
      ...environment
    }: Environment & Record<'backend' | 'credentials' | 'hostId', string>,
    start: () => Promise<void>,
  ): Promise<void> {
    const state = JSON.parse(readFileSync(join(this.cloud.home, 'run', 'state.json'), 'utf8'));
    const log = join(this.folder, `${name}.log`);
    const child = spawn(
      'sh',
      ['-c', 'exec "$@" >>"$LOG" 2>&1', 'sh', process.execPath, at('apps/compute-agent/dist/main.js')],
      {
        stdio: 'ignore',
        env: {
          ...{ PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LOG: log, NODE_ENV: 'production' },
          OMNIVISOR_NATS_URL: state.natsUrl,
          OMNIVISOR_HOST_CREDS: credentials,
          OMNIVISOR_HOST_ID: hostId,
          OMNIVISOR_CLOUD_ID: readFileSync(join(this.cloud.home, 'data/secrets/cloud-id'), 'utf8').trim(),
          OMNIVISOR_STATE_DIR: join(this.folder, `${name}.state`),
          OMNIVISOR_BACKENDS: backend,
          OMNIVISOR_NODE: name,
          ...environment,
        },
      },
    );
    this.children.push(child);
    this.agents.set(name, { child, start });
  }

  private async areUp(): Promise<void> {
    const list = async () =>
      (await this.cloud.admin.get('compute', '/os-services')).services as { host: string; state: string }[];
    await eventually(
      'all agents have taken up their hosts',
      list,
      (services) => this.hosts.every((name) => services.some((s) => s.host === name && s.state === 'up')),
      this.seconds,
    ).catch((error) => {
      throw new Error(`${error.message}\n${this.hosts.map((h) => `--- ${h}\n${this.log(h)}`).join('\n')}`);
    });
  }
}
