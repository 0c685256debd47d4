import { spawn } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { dirname, join } from 'node:path';
import type { GuestNic } from '../../drivers/hypervisor-driver.js';
import type { InspectableNetworkPlug, NetworkPlan, OnMetadata, PortPlug } from '../network-plug.js';
import { guardOf } from '../port-guard.js';
import { addressesChangedHands, dnsmasqConfiguration, dnsmasqHosts, reachableResolvers } from './dnsmasq.js';
import { type FilteredPort, networkFilter } from './filter.js';
import { loadModules, namespaceSettings } from './kernel.js';
import { METADATA_PROXY } from './metadata-proxy.js';
import { Names } from './names.js';
import { Outside } from './outside.js';
import { isAlive, run, succeeds, withLock } from './run.js';
import { address, cidr, mac, mtu, uuid } from './values.js';

export interface LinuxNetworkOptions {
  readonly cloudId: string;
  /** This agent, among those that share the machine: its host id. */
  readonly agent: string;
  readonly onMetadata: OnMetadata;
  /** Shared state, gone after a boot like the namespaces: default `/run/omnivisor/network`. */
  readonly stateDirectory?: string;
  /** Addresses between the networks and the root namespace, two for each network: default `100.64.0.0/16`. */
  readonly outsidePool?: string;
  /** Who dnsmasq runs as: default `nobody`. */
  readonly dnsmasqUser?: string;
  /** Owner of the tap devices, when QEMU does not run as root. */
  readonly guestUser?: string;
}

interface PortFile {
  readonly plug: PortPlug;
  readonly tap: string;
  /** Socket of the agent that plugged it. */
  readonly agent: string;
}

const METADATA_ADDRESS = '169.254.169.254';

/**
 * Networks of Linux: each is a network namespace of our own with a bridge, the taps of its guests, DHCP, metadata and a
 * way out. Agents of one machine share them under a lock file for each network; the files in the state directory say
 * what is there, so that any agent can bring the whole network's filter up to date. Everything outlives the agents.
 */
export class LinuxNetworkPlug implements InspectableNetworkPlug {
  private readonly names: Names;
  private readonly plans = new Map<string, NetworkPlan>();
  private readonly outside: Outside;
  private metadata: Server | undefined;

  private constructor(private readonly options: LinuxNetworkOptions) {
    this.names = new Names(options.cloudId, options.stateDirectory ?? '/run/omnivisor/network');
    this.outside = new Outside(this.names, options.outsidePool ?? '100.64.0.0/16');
  }

  /** @throws ToolFailed when the machine cannot carry networks: no rights, or a tool that is missing */
  static async open(options: LinuxNetworkOptions): Promise<LinuxNetworkPlug> {
    const plug = new LinuxNetworkPlug(options);
    await mkdir(plug.names.directory, { recursive: true, mode: 0o755 });
    for (const tool of [
      ['ip', '-V'],
      ['nft', '--version'],
      ['dnsmasq', '--version'],
      ['sysctl', '--version'],
    ])
      await run(tool);
    await loadModules();
    await plug.answerMetadata();
    return plug;
  }

  async ensureNetworks(plans: readonly NetworkPlan[]): Promise<void> {
    for (const plan of plans) {
      this.plans.set(plan.networkId, plan);
      await withLock(this.names.lock(plan.networkId), () => this.ensure(plan));
    }
  }

  async plug(port: PortPlug): Promise<GuestNic> {
    const { networkId, portId } = port;
    const tap = this.names.tap(portId);
    const netns = this.names.netns(networkId);
    await withLock(this.names.lock(networkId), async () => {
      const plan = this.plans.get(networkId) ?? (await this.storedPlan(networkId));
      if (!plan) throw new Error(`network ${networkId} has no plan on this machine`);
      if (!(await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', 'br0']))) await this.ensure(plan);
      const file: PortFile = { plug: port, tap, agent: this.names.agentSocket(this.options.agent) };
      const changed = await this.store(this.names.portFile(networkId, portId), JSON.stringify(file));
      const there = await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', tap]);
      if (there && !changed) return;
      // The filter stands before the device can carry anything.
      await this.filter(plan);
      if (!there) {
        const owner = this.options.guestUser === undefined ? [] : ['user', this.options.guestUser];
        await run(['ip', '-n', netns, 'tuntap', 'add', 'dev', tap, 'mode', 'tap', ...owner]);
      }
      const state = port.adminUp ? 'up' : 'down';
      await run(['ip', '-n', netns, 'link', 'set', 'dev', tap, 'mtu', `${mtu(port.mtu)}`, 'master', 'br0', state]);
    });
    return {
      portId,
      mac: mac(port.mac),
      mtu: port.mtu,
      model: null,
      attachment: { kind: 'tap', tap, netns },
      guard: guardOf(port),
    };
  }

  async unplug(portId: string): Promise<void> {
    for (const networkId of await this.networksHere()) {
      const path = this.names.portFile(networkId, portId);
      if ((await this.read(path)) === null) continue;
      await withLock(this.names.lock(networkId), async () => {
        const netns = this.names.netns(networkId);
        await succeeds(['ip', '-n', netns, 'link', 'delete', 'dev', this.names.tap(portId)]);
        await rm(path, { force: true });
        const plan = await this.storedPlan(networkId);
        if ((await this.ports(networkId)).length === 0) await this.remove(networkId);
        else if (plan) await this.filter(plan);
      });
    }
  }

  async list(): Promise<string[]> {
    const own = this.names.agentSocket(this.options.agent);
    const found: string[] = [];
    for (const networkId of await this.networksHere())
      for (const file of await this.ports(networkId)) if (file.agent === own) found.push(file.plug.portId);
    return found.sort();
  }

  reach(networkId: string): readonly string[] {
    return ['ip', 'netns', 'exec', this.names.netns(networkId)];
  }

  /** Lets go; networks, ports and their processes stay as they are. */
  async close(): Promise<void> {
    const server = this.metadata;
    this.metadata = undefined;
    if (!server) return;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  /** Removes everything of the cloud on this machine, of all agents: only when no guest is left. */
  async removeAll(): Promise<void> {
    for (const networkId of await this.networksHere())
      await withLock(this.names.lock(networkId), () => this.remove(networkId));
    await this.outside.removeTable();
    await this.close();
    await rm(this.names.directory, { recursive: true, force: true });
  }

  private async ensure(plan: NetworkPlan): Promise<void> {
    const { networkId } = plan;
    const netns = this.names.netns(networkId);
    const folder = this.names.networkDirectory(networkId);
    await mkdir(join(folder, 'ports'), { recursive: true, mode: 0o755 });
    const shape = JSON.stringify({ ...plan, leases: [] });
    const built = await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', 'br0']);
    const reshaped = (await this.read(join(folder, 'shape.json'))) !== shape;
    await this.store(join(folder, 'plan.json'), JSON.stringify(plan));
    if (!built || reshaped) {
      await this.build(plan, netns);
      await this.filter(plan);
      await this.store(join(folder, 'shape.json'), shape);
    }
    await this.serveDhcp(plan, netns, folder);
    await this.serveMetadata(networkId, netns, folder);
  }

  private async build(plan: NetworkPlan, netns: string): Promise<void> {
    if (!(await succeeds(['ip', 'netns', 'exec', netns, 'true']))) {
      await succeeds(['ip', 'netns', 'delete', netns]);
      await run(['ip', 'netns', 'add', netns]);
    }
    const inside = (...args: string[]) => run(['ip', '-n', netns, ...args]);
    await inside('link', 'set', 'dev', 'lo', 'up');
    if (!(await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', 'br0'])))
      await inside(
        'link',
        'add',
        'name',
        'br0',
        'address',
        bridgeMac(plan.networkId),
        'type',
        'bridge',
        'forward_delay',
        '0',
      );
    await run(['ip', 'netns', 'exec', netns, 'sysctl', '-qw', ...namespaceSettings()]);
    await inside('link', 'set', 'dev', 'br0', 'mtu', `${mtu(plan.mtu)}`, 'up');
    const wanted = new Set([
      `${METADATA_ADDRESS}/32`,
      ...plan.subnets
        .filter((s) => s.version === 4)
        .map((s) => `${address(s.serviceAddress)}/${cidr(s.cidr).split('/')[1]}`),
    ]);
    const here = await addressesOf(netns, 'br0');
    for (const a of here) if (!wanted.has(a)) await inside('addr', 'del', a, 'dev', 'br0');
    for (const a of wanted) if (!here.includes(a)) await inside('addr', 'add', a, 'dev', 'br0');
    await this.outside.connect(plan.networkId, netns);
  }

  /** The whole filter of the network, in one transaction. */
  private async filter(plan: NetworkPlan): Promise<void> {
    const netns = this.names.netns(plan.networkId);
    const ports: FilteredPort[] = await this.ports(plan.networkId);
    const [outside = ''] = (await addressesOf(netns, 'outside')).map((a) => a.split('/')[0] ?? '');
    await run(['ip', 'netns', 'exec', netns, 'nft', '-f', '-'], networkFilter(plan, ports, outside));
  }

  private async serveDhcp(plan: NetworkPlan, netns: string, folder: string): Promise<void> {
    const files = {
      hosts: join(folder, 'hosts'),
      pid: join(folder, 'dnsmasq.pid'),
      leases: join(folder, 'leases'),
    };
    const resolvers = reachableResolvers((await this.read('/etc/resolv.conf')) ?? '');
    const user = this.options.dnsmasqUser ?? 'nobody';
    const configuration = join(folder, 'dnsmasq.conf');
    const before = (await this.read(files.hosts)) ?? '';
    const hosts = dnsmasqHosts(plan);
    const hostsChanged = await this.store(files.hosts, hosts);
    const changed = await this.store(configuration, dnsmasqConfiguration(plan, files, { user, resolvers }));
    const pid = await this.running(files.pid, netns, 'dnsmasq');
    if (pid !== null && !changed && !addressesChangedHands(before, hosts)) {
      if (hostsChanged) process.kill(pid, 'SIGHUP');
      return;
    }
    if (pid !== null) await end(pid);
    await run(['ip', 'netns', 'exec', netns, 'dnsmasq', `--conf-file=${configuration}`]);
  }

  private async serveMetadata(networkId: string, netns: string, folder: string): Promise<void> {
    const pidFile = join(folder, 'metadata.pid');
    if ((await this.running(pidFile, netns, networkId)) !== null) return;
    const child = spawn(
      'ip',
      [
        'netns',
        'exec',
        netns,
        process.execPath,
        '--max-old-space-size=32',
        '--input-type=module',
        '--eval',
        METADATA_PROXY,
        '--',
        uuid(networkId),
        join(folder, 'ports'),
      ],
      { detached: true, stdio: 'ignore', cwd: '/', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
    );
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', () => resolve());
      child.once('error', reject);
    });
    child.unref();
    // `ip netns exec` becomes the program: the process keeps its id.
    await this.store(pidFile, `${child.pid}\n`);
  }

  /** Process of a pid file, when it is alive and really the one: its command line has `mark` in it. */
  private async running(pidFile: string, netns: string, mark: string): Promise<number | null> {
    const pid = Number((await this.read(pidFile))?.trim());
    if (!Number.isInteger(pid) || pid <= 1 || !isAlive(pid)) return null;
    const line = (await this.read(`/proc/${pid}/cmdline`)) ?? '';
    if (!line.includes(mark)) return null;
    const inside = (await run(['ip', 'netns', 'identify', `${pid}`])).trim().split('\n');
    return inside.includes(netns) || line.includes(netns) ? pid : null;
  }

  private async remove(networkId: string): Promise<void> {
    const netns = this.names.netns(networkId);
    const folder = this.names.networkDirectory(networkId);
    for (const [file, mark] of [
      ['dnsmasq.pid', 'dnsmasq'],
      ['metadata.pid', networkId],
    ] as const) {
      const pid = await this.running(join(folder, file), netns, mark);
      if (pid !== null) await end(pid);
    }
    for (const { tap } of await this.ports(networkId))
      await succeeds(['ip', '-n', netns, 'link', 'delete', 'dev', tap]);
    await this.outside.disconnect(networkId);
    await succeeds(['ip', 'netns', 'delete', netns]);
    await rm(folder, { recursive: true, force: true });
  }

  private async answerMetadata(): Promise<void> {
    const path = this.names.agentSocket(this.options.agent);
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await rm(path, { force: true });
    const server = createServer({ requestTimeout: 10_000 }, (request, response) => {
      const networkId = `${request.headers['x-omnivisor-network'] ?? ''}`;
      const source = `${request.headers['x-omnivisor-source'] ?? ''}`;
      this.options.onMetadata(networkId, source, (request.url ?? '/').slice(0, 2_048)).then(
        (reply) => {
          response.writeHead(reply.status, { 'content-type': reply.contentType });
          response.end(request.method === 'HEAD' ? undefined : reply.body);
        },
        () => {
          response.writeHead(503, { 'content-type': 'text/plain', 'retry-after': '1' });
          response.end();
        },
      );
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => resolve());
    });
    // Only root writes to it: guests reach it through the proxy alone.
    await chmod(path, 0o600);
    server.unref();
    this.metadata = server;
  }

  private async networksHere(): Promise<string[]> {
    const entries = await readdir(this.names.directory, { withFileTypes: true }).catch(() => []);
    return entries.filter((e) => e.isDirectory()).map((e) => e.name);
  }

  private async ports(networkId: string): Promise<PortFile[]> {
    const folder = join(this.names.networkDirectory(networkId), 'ports');
    const found: PortFile[] = [];
    for (const name of (await readdir(folder).catch(() => [])).sort()) {
      const text = name.endsWith('.json') ? await this.read(join(folder, name)) : null;
      if (text !== null) found.push(JSON.parse(text) as PortFile);
    }
    return found;
  }

  private async storedPlan(networkId: string): Promise<NetworkPlan | null> {
    const text = await this.read(join(this.names.networkDirectory(networkId), 'plan.json'));
    return text === null ? null : (JSON.parse(text) as NetworkPlan);
  }

  private read(path: string): Promise<string | null> {
    return readFile(path, 'utf8').catch(() => null);
  }

  /** Replaces a file in one step. @returns whether its text is another now */
  private async store(path: string, text: string): Promise<boolean> {
    if ((await this.read(path)) === text) return false;
    await writeFile(`${path}.new`, text, { mode: 0o644 });
    await rename(`${path}.new`, path);
    return true;
  }
}

const addressesOf = async (netns: string, device: string): Promise<string[]> => {
  const text = await run(['ip', '-n', netns, '-j', '-4', 'addr', 'show', 'dev', device]).catch(() => '[]');
  const links = JSON.parse(text || '[]') as { addr_info?: { local: string; prefixlen: number }[] }[];
  return links.flatMap((l) => (l.addr_info ?? []).map((a) => `${a.local}/${a.prefixlen}`));
};

/** The same MAC whenever the bridge is made anew: guests that live on keep their gateway. */
const bridgeMac = (networkId: string): string =>
  ['fe', '16', '3e', ...(uuid(networkId).replaceAll('-', '').slice(0, 6).match(/../g) ?? [])].join(':');

const end = async (pid: number): Promise<void> => {
  try {
    process.kill(pid, 'SIGTERM');
  } catch {
    return; // gone already
  }
  const deadline = Date.now() + 3_000;
  while (isAlive(pid) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  if (isAlive(pid)) process.kill(pid, 'SIGKILL');
};

/** Removes everything of a cloud on this machine. */
export const removeNetworks = async (
  options: Pick<LinuxNetworkOptions, 'cloudId' | 'stateDirectory'>,
): Promise<void> => {
  const onMetadata = async () => ({ status: 404, contentType: 'text/plain', body: '' });
  const plug = await LinuxNetworkPlug.open({ ...options, agent: 'cleanup', onMetadata });
  await plug.removeAll();
};
