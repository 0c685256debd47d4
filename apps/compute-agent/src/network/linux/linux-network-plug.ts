import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { KeyedMutex } from '../../drivers/common/keyed-mutex.js';
import { groupsNamed } from '../../drivers/common/nft/security-groups.js';
import { address, cidr, isV6, mac, mtu, uuid } from '../../drivers/common/nft/values.js';
import type { GuestNic } from '../../drivers/hypervisor-driver.js';
import type {
  GroupMembers,
  InspectableNetworkPlug,
  NetworkPlan,
  OnMetadata,
  PluggedPort,
  PortPlug,
} from '../network-plug.js';
import { guardOf } from '../port-guard.js';
import { METADATA_ADDRESS, METADATA_ADDRESS_6, networkFilter } from './filter.js';
import { Groups } from './groups.js';
import { loadModules, namespaceSettings } from './kernel.js';
import { listenForMetadata } from './metadata-socket.js';
import { Names } from './names.js';
import { NetworkFiles, read, store } from './network-files.js';
import { NetworkProcesses } from './network-processes.js';
import { Outside } from './outside.js';
import { run, succeeds, withLock } from './run.js';
import { Uplink } from './uplink.js';

export interface LinuxNetworkOptions {
  readonly cloudId: string;
  /** This agent, among those that share the machine: its host id. */
  readonly agent: string;
  readonly onMetadata: OnMetadata;
  /** Shared state, gone after a boot like the namespaces: default `/run/omnivisor/network`. */
  readonly stateDirectory?: string;
  /** Addresses between the networks and the root namespace, two for each network: default `100.64.0.0/16`. */
  readonly outsidePool?: string;
  /** Bridges of the machine by physical network. */
  readonly bridges?: Readonly<Record<string, string>>;
  /** Who dnsmasq runs as: default `nobody`. */
  readonly dnsmasqUser?: string;
  /** Owner of the tap devices, when QEMU does not run as root. */
  readonly guestUser?: string;
}

/** What is to become of a port: plugged so, or taken out. */
interface PortChange {
  readonly portId: string;
  readonly wanted: { readonly port: PortPlug; readonly serverId: string } | null;
}

interface Waiting {
  readonly change: PortChange;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Networks of Linux: each is a network namespace of our own with a bridge, the taps of its guests, DHCP, metadata and a
 * way out. Agents of one machine share them under lock files; the files in the state directory say what is there, so
 * that any agent can bring the whole network's filter up to date. Everything outlives the agents.
 */
export class LinuxNetworkPlug implements InspectableNetworkPlug {
  private readonly names: Names;
  private readonly files: NetworkFiles;
  private readonly plans = new Map<string, NetworkPlan>();
  /** Plans as they were last brought about by this agent, as text. */
  private readonly brought = new Map<string, string>();
  private readonly waiting = new Map<string, Waiting[]>();
  private readonly outside: Outside;
  private readonly uplink: Uplink;
  private readonly groups: Groups;
  private readonly oneAtATime = new KeyedMutex<string>();
  private metadata: Server | undefined;

  private constructor(private readonly options: LinuxNetworkOptions) {
    this.names = new Names(options.cloudId, options.stateDirectory ?? '/run/omnivisor/network');
    this.files = new NetworkFiles(this.names);
    this.groups = new Groups(this.names);
    this.uplink = new Uplink(this.names, options.bridges ?? {});
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
    plug.metadata = await listenForMetadata(plug.socket, options.onMetadata);
    return plug;
  }

  /**
   * Removes everything of a cloud on this machine: only when no guest and no agent of it is left there.
   * @returns whether there was anything
   */
  static async removeNetworks(options: Pick<LinuxNetworkOptions, 'cloudId' | 'stateDirectory'>): Promise<boolean> {
    const onMetadata = () => Promise.reject(new Error('all networks are being removed'));
    return new LinuxNetworkPlug({ ...options, agent: 'none', onMetadata }).removeAll();
  }

  async ensure(plan: NetworkPlan): Promise<void> {
    const { networkId } = plan;
    this.plans.set(networkId, plan);
    const isThere = existsSync(`/run/netns/${this.names.netns(networkId)}`);
    if (
      isThere &&
      this.brought.get(networkId) === JSON.stringify(plan) &&
      (await this.processes(networkId).areServing(plan))
    )
      return;
    await this.alone(networkId, () => this.bring(plan));
  }

  async regroup(groups: readonly GroupMembers[]): Promise<void> {
    if (groups.length === 0) return;
    await this.groups.take(groups);
    const changed = new Set<string>(groups.map((group) => group.securityGroupId));
    for (const networkId of await this.files.networks())
      await this.alone(networkId, async () => {
        const plan = await this.files.plan(networkId);
        if (plan && groupsNamed(await this.files.ports(networkId)).some((id) => changed.has(id)))
          await this.filter(plan);
      });
  }

  async plug(port: PortPlug, serverId: string): Promise<GuestNic> {
    const { networkId, portId } = port;
    await this.change(networkId, { portId, wanted: { port, serverId } });
    const members = await this.groups.addresses(groupsNamed([{ plug: port }]));
    const { tap } = (await this.files.own(networkId, portId, this.socket))!;
    return {
      portId,
      mac: mac(port.mac),
      mtu: port.mtu,
      model: null,
      attachment: { kind: 'tap', tap, netns: this.names.netns(networkId) },
      guard: guardOf(port, (group) => members.get(group) ?? []),
    };
  }

  async unplug(portId: string): Promise<void> {
    for (const networkId of await this.files.networks())
      if (await this.files.own(networkId, portId, this.socket)) await this.change(networkId, { portId, wanted: null });
  }

  async list(): Promise<PluggedPort[]> {
    const found: PluggedPort[] = [];
    for (const networkId of await this.files.networks())
      for (const { agent, plug, serverId } of await this.files.ports(networkId))
        if (agent === this.socket) found.push({ portId: plug.portId, serverId });
    return found;
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

  private get socket(): string {
    return this.names.agentSocket(this.options.agent);
  }

  private processes(networkId: string): NetworkProcesses {
    const folder = this.names.networkDirectory(networkId);
    return new NetworkProcesses(folder, this.names.netns(networkId), this.options.dnsmasqUser ?? 'nobody');
  }

  /** Changes that come while others of their network wait are made together: each has the whole filter written anew. */
  private change(networkId: string, change: PortChange): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const waiting = this.waiting.get(networkId) ?? [];
      this.waiting.set(networkId, waiting);
      waiting.push({ change, resolve, reject });
      if (waiting.length > 1) return;
      this.alone(networkId, () => this.changeWaiting(networkId)).catch((error) => {
        for (const one of this.waiting.get(networkId) ?? []) one.reject(error);
        this.waiting.delete(networkId);
      });
    });
  }

  private async changeWaiting(networkId: string): Promise<void> {
    const waiting = this.waiting.get(networkId) ?? [];
    this.waiting.delete(networkId);
    // Of two changes of a port the later one counts.
    const changes = new Map(waiting.map(({ change }) => [change.portId, change]));
    try {
      await this.changeAll(networkId, [...changes.values()]);
      for (const { resolve } of waiting) resolve();
    } catch {
      // One of them may have spoilt it for the others.
      for (const { change, resolve, reject } of waiting)
        await this.changeAll(networkId, [change]).then(resolve, reject);
    }
  }

  private async changeAll(networkId: string, changes: readonly PortChange[]): Promise<void> {
    for (const { portId, wanted } of changes) {
      if (wanted) continue;
      const own = await this.files.own(networkId, portId, this.socket);
      if (!own) continue;
      await succeeds(['ip', '-n', this.names.netns(networkId), 'link', 'delete', 'dev', own.tap]);
      await this.files.removePort(networkId, portId, this.socket);
    }
    const plugs = changes.flatMap(({ wanted }) => (wanted ? [wanted] : []));
    if (plugs.length > 0) return this.plugAll(networkId, plugs);
    if ((await this.files.ports(networkId)).length === 0) return this.remove(networkId);
    const plan = await this.files.plan(networkId);
    if (plan && !(await this.files.isFiltered(networkId))) await this.filter(plan);
  }

  private async plugAll(networkId: string, plugs: readonly NonNullable<PortChange['wanted']>[]): Promise<void> {
    const netns = this.names.netns(networkId);
    const plan = this.plans.get(networkId) ?? (await this.files.plan(networkId));
    if (!plan) throw new Error(`network ${networkId} has no plan on this machine`);
    if (!(await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', 'br0']))) await this.bring(plan);
    await this.files.prepare(networkId);
    const undo: (() => Promise<void>)[] = [];
    const changed = new Set<string>();
    try {
      for (const { port, serverId } of plugs) {
        const back = await this.files.storePort(port, serverId, this.socket);
        if (!back) continue;
        undo.push(back);
        changed.add(port.portId);
      }
      if (changed.size > 0) await this.processes(networkId).serveDhcp(plan, await this.plugs(networkId));
      // The filter stands before a device can carry anything.
      if (!(await this.files.isFiltered(networkId))) await this.filter(plan);
    } catch (error) {
      for (const back of undo) await back();
      throw error;
    }
    const links = JSON.parse(await run(['ip', '-n', netns, '-j', 'link', 'show'])) as {
      ifname: string;
      master?: string;
    }[];
    const devices = new Map(links.map((link) => [link.ifname, link.master]));
    const owner = this.options.guestUser === undefined ? '' : ` user ${this.options.guestUser}`;
    const taps = new Map<string, string>();
    for (const { port } of plugs)
      taps.set(port.portId, (await this.files.own(networkId, port.portId, this.socket))!.tap);
    const commands = plugs.flatMap(({ port }) => {
      const tap = taps.get(port.portId)!;
      if (devices.get(tap) === 'br0' && !changed.has(port.portId)) return [];
      return [
        ...(devices.has(tap) ? [] : [`tuntap add dev ${tap} mode tap${owner}`]),
        `link set dev ${tap} mtu ${mtu(port.mtu)} master br0 ${port.adminUp ? 'up' : 'down'}`,
      ];
    });
    if (commands.length > 0) await run(['ip', '-n', netns, '-batch', '-'], `${commands.join('\n')}\n`);
  }

  private async removeAll(): Promise<boolean> {
    const listed = (await run(['ip', 'netns', 'list']).catch(() => '')).split('\n').map((l) => l.split(' ')[0] ?? '');
    const lost = listed.filter((n) => n.startsWith(this.names.prefix)).map((n) => n.slice(this.names.prefix.length));
    const networks = new Set([...(await this.files.networks()), ...lost]);
    await mkdir(this.names.directory, { recursive: true });
    for (const networkId of networks) await this.alone(networkId, () => this.remove(networkId));
    const filtered = await this.outside.removeTable();
    await rm(this.names.directory, { recursive: true, force: true });
    await this.groups.removeAll();
    return networks.size > 0 || filtered;
  }

  /** Makes the network, or brings it up to date. Under its lock. */
  private async bring(plan: NetworkPlan): Promise<void> {
    const { networkId } = plan;
    const netns = this.names.netns(networkId);
    const folder = await this.files.prepare(networkId);
    const shape = JSON.stringify(plan);
    const isBuilt = await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', 'br0']);
    const isReshaped = (await read(join(folder, 'shape.json'))) !== shape;
    await store(join(folder, 'plan.json'), JSON.stringify(plan));
    if (!isBuilt || isReshaped) {
      await this.build(plan, netns);
      await this.filter(plan);
      await store(join(folder, 'shape.json'), shape);
    }
    await this.processes(networkId).serve(plan, await this.plugs(networkId));
    this.brought.set(networkId, JSON.stringify(plan));
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
    const has = (version: 4 | 6) => plan.subnets.filter((s) => s.version === version);
    await run(['ip', 'netns', 'exec', netns, 'sysctl', '-qw', ...namespaceSettings(has(6).length > 0)]);
    await inside('link', 'set', 'dev', 'br0', 'mtu', `${mtu(plan.mtu)}`, 'up');
    if (plan.provider) return this.uplink.connect(plan.networkId, netns, plan.provider, plan.mtu);
    const wanted = new Set([
      `${METADATA_ADDRESS}/32`,
      ...(has(6).length > 0 ? [`${METADATA_ADDRESS_6}/64`] : []),
      ...[...has(4), ...has(6)].flatMap(({ serviceAddress: own, cidr: range }) =>
        own === null ? [] : [`${address(own)}/${cidr(range).split('/')[1]}`],
      ),
    ]);
    const here = await addressesOf(netns, 'br0');
    for (const a of here) if (!wanted.has(a)) await inside('addr', 'del', a, 'dev', 'br0');
    for (const a of wanted)
      if (!here.includes(a)) await inside('addr', 'add', a, 'dev', 'br0', ...(isV6(a) ? ['nodad'] : []));
    await this.outside.connect(plan.networkId, netns);
  }

  private async plugs(networkId: string): Promise<PortPlug[]> {
    const ports = await this.files.ports(networkId);
    return [...new Map(ports.map(({ plug }) => [plug.portId, plug])).values()];
  }

  /** The whole filter of the network, in one transaction. */
  private async filter(plan: NetworkPlan): Promise<void> {
    const netns = this.names.netns(plan.networkId);
    const ports = await this.files.ports(plan.networkId);
    const [outside = ''] = (await addressesOf(netns, 'outside'))
      .map((a) => a.split('/')[0] ?? '')
      .filter((a) => !isV6(a));
    const members = await this.groups.addresses(groupsNamed(ports));
    await run(['ip', 'netns', 'exec', netns, 'nft', '-f', '-'], networkFilter(plan, ports, outside, members));
    await this.files.setFiltered(plan.networkId, true);
  }

  private async remove(networkId: string): Promise<void> {
    const netns = this.names.netns(networkId);
    await this.processes(networkId).end();
    for (const { tap } of await this.files.ports(networkId))
      await succeeds(['ip', '-n', netns, 'link', 'delete', 'dev', tap]);
    await this.outside.disconnect(networkId);
    await this.uplink.disconnect(networkId);
    await succeeds(['ip', 'netns', 'delete', netns]);
    await rm(this.names.networkDirectory(networkId), { recursive: true, force: true });
  }

  /** One change at a time per network: in this process by a queue, among those of the machine by a lock. */
  private alone<T>(networkId: string, work: () => Promise<T>): Promise<T> {
    return this.oneAtATime.run(networkId, () => withLock(this.names.lock(networkId), work));
  }
}

/** Addresses that were given to a device; not the one that it has made itself. */
const addressesOf = async (netns: string, device: string): Promise<string[]> => {
  const text = await run(['ip', '-n', netns, '-j', 'addr', 'show', 'dev', device]).catch(() => '[]');
  const links = JSON.parse(text || '[]') as {
    addr_info?: { local: string; prefixlen: number; scope: string; family: string }[];
  }[];
  return links.flatMap((link) =>
    (link.addr_info ?? [])
      .filter((a) => a.family === 'inet' || a.scope !== 'link' || a.local === METADATA_ADDRESS_6)
      .map((a) => `${a.local}/${a.prefixlen}`),
  );
};

/** The same MAC whenever the bridge is made anew: guests that live on keep their gateway. */
const bridgeMac = (networkId: string): string =>
  ['fe', '16', '3e', ...(uuid(networkId).replaceAll('-', '').slice(0, 6).match(/../g) ?? [])].join(':');
