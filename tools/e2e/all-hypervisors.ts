import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildVcsim } from '../doubles/vcsim/build.mjs';
import { eventually, type RunningCloud } from './running-cloud.js';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const at = (path: string) => join(ROOT, path);

export const PHYSICAL_NETWORK = 'physnet1';

type Environment = Readonly<Record<string, string>>;
/** A hypervisor that an agent can be pointed at. */
export interface Endpoint {
  readonly name: string;
  readonly environment: Environment;
}

type Kind = 'fake' | 'qemu' | 'vsphere' | 'xenserver' | 'hyperv';

/** One hypervisor of each kind beside a cloud, and an agent for each. */
export class AllHypervisors {
  readonly folder = mkdtempSync(join(tmpdir(), 'ov-all-'));
  /** Names of the hosts. */
  readonly hosts: string[] = [];
  /** Why a kind is not there. */
  readonly missing: string[] = [];
  private readonly children: ChildProcess[] = [];
  private readonly bridge = `ovx${process.pid}`;

  private constructor(private readonly cloud: RunningCloud) {}

  /** @param kinds that run here @param others hypervisors that run elsewhere */
  static async start(
    cloud: RunningCloud,
    kinds: readonly Kind[] = ['fake', 'qemu', 'vsphere', 'xenserver', 'hyperv'],
    others: readonly Endpoint[] = [],
  ): Promise<AllHypervisors> {
    const all = new AllHypervisors(cloud);
    const started: Record<Kind, () => Promise<Endpoint | null>> = {
      fake: () => all.fake(),
      qemu: () => all.qemu(),
      vsphere: () => all.vsphere(),
      xenserver: () => all.xenserver(),
      hyperv: () => all.hyperv(),
    };
    try {
      const endpoints = [...(await Promise.all(kinds.map((kind) => started[kind]()))), ...others];
      await Promise.all(endpoints.flatMap((endpoint) => (endpoint ? [all.agent(endpoint)] : [])));
      await all.areUp();
    } catch (error) {
      await all.stop();
      throw error;
    }
    return all;
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

  private async fake(): Promise<Endpoint> {
    return { name: 'fake', environment: { OMNIVISOR_BRIDGES: `${PHYSICAL_NETWORK}=none` } };
  }

  private async qemu(): Promise<Endpoint> {
    await run('ip', ['link', 'add', 'name', this.bridge, 'type', 'bridge', 'forward_delay', '0']);
    await run('ip', ['link', 'set', 'dev', this.bridge, 'up']);
    return { name: 'qemu', environment: { OMNIVISOR_BRIDGES: `${PHYSICAL_NETWORK}=${this.bridge}` } };
  }

  private async vsphere(): Promise<Endpoint | null> {
    const built = await buildVcsim();
    if (built.path === null) {
      this.missing.push(`vsphere: ${built.reason}`);
      return null;
    }
    const url = await this.program(built.path, []);
    return {
      name: 'vsphere',
      environment: {
        OMNIVISOR_VSPHERE_URL: url,
        OMNIVISOR_VSPHERE_USER: 'omnivisor',
        OMNIVISOR_VSPHERE_PASSWORD_FILE: this.file('vsphere.password', 'secret\n'),
        OMNIVISOR_VSPHERE_MEMBER: 'DC0_C0_H0',
        OMNIVISOR_VSPHERE_NETWORKS: `${PHYSICAL_NETWORK}=DVS0`,
        OMNIVISOR_VSPHERE_CREATE_PORT_GROUPS: 'true',
      },
    };
  }

  private async xenserver(): Promise<Endpoint> {
    const settings = this.file('pool.json', JSON.stringify({ stateDir: join(this.folder, 'pool') }));
    const line = await this.program(process.execPath, [at('tools/doubles/xapi/main.mjs'), settings]);
    return {
      name: 'xenserver',
      environment: {
        OMNIVISOR_XENSERVER_URLS: JSON.parse(line).url,
        OMNIVISOR_XENSERVER_USER: 'root',
        OMNIVISOR_XENSERVER_PASSWORD_FILE: this.file('xenserver.password', 'secret\n'),
        OMNIVISOR_XENSERVER_NETWORKS: `${PHYSICAL_NETWORK}=eth1`,
      },
    };
  }

  /** Where the agent calls ssh, it gets the double's PowerShell. */
  private async hyperv(): Promise<Endpoint> {
    const host = join(this.folder, 'windows');
    const facts = JSON.stringify({ name: 'hyperv' });
    const socket = await this.program(process.execPath, [
      ...[at('tools/doubles/hyperv/serve.mjs'), host, '--disks', '--facts', facts],
    ]);
    const bin = join(this.folder, 'bin');
    mkdirSync(bin);
    const powershell = `${process.execPath} ${at('tools/doubles/hyperv/powershell.mjs')}`;
    writeFileSync(join(bin, 'ssh'), `#!/bin/sh\nOMNIVISOR_HYPERV_DOUBLE=${socket} exec ${powershell}\n`, {
      mode: 0o755,
    });
    return {
      name: 'hyperv',
      environment: {
        PATH: `${bin}:${process.env.PATH}`,
        OMNIVISOR_HYPERV_HOSTS: 'omnivisor@127.0.0.1',
        OMNIVISOR_HYPERV_SWITCHES: `${PHYSICAL_NETWORK}=External`,
      },
    };
  }

  private file(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }

  /** @returns the first line that it says */
  private async program(command: string, args: readonly string[]): Promise<string> {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    this.children.push(child);
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
    return line;
  }

  private async agent({ name, environment }: Endpoint): Promise<void> {
    const credentials = join(this.folder, `${name}.creds`);
    const enrolled = await this.cloud.omnivisor('host', 'enroll', name, '--out', credentials, '--json');
    const state = JSON.parse(readFileSync(join(this.cloud.home, 'run', 'state.json'), 'utf8'));
    const log = join(this.folder, `${name}.log`);
    const child = spawn(
      'sh',
      ['-c', 'exec "$@" >"$LOG" 2>&1', 'sh', process.execPath, at('apps/compute-agent/dist/main.js')],
      {
        stdio: 'ignore',
        env: {
          ...{ PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LOG: log, NODE_ENV: 'production' },
          OMNIVISOR_NATS_URL: state.natsUrl,
          OMNIVISOR_HOST_CREDS: credentials,
          OMNIVISOR_HOST_ID: JSON.parse(enrolled.stdout).hostId,
          OMNIVISOR_CLOUD_ID: readFileSync(join(this.cloud.home, 'data/secrets/cloud-id'), 'utf8').trim(),
          OMNIVISOR_STATE_DIR: join(this.folder, `${name}.state`),
          OMNIVISOR_BACKENDS: name,
          OMNIVISOR_NODE: name,
          ...environment,
        },
      },
    );
    this.children.push(child);
    this.hosts.push(name);
  }

  private async areUp(): Promise<void> {
    const list = async () =>
      (await this.cloud.admin.get('compute', '/os-services')).services as { host: string; state: string }[];
    await eventually(
      'all agents have taken up their hosts',
      list,
      (services) => this.hosts.every((name) => services.some((s) => s.host === name && s.state === 'up')),
      60,
    ).catch((error) => {
      throw new Error(`${error.message}\n${this.hosts.map((h) => `--- ${h}\n${this.log(h)}`).join('\n')}`);
    });
  }
}
