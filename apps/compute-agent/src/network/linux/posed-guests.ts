import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import type { NetworkPlan, PortPlug } from '../network-plug.js';
import { LinuxNetworkPlug } from './linux-network-plug.js';
import { Names } from './names.js';
import { run, succeeds } from './run.js';

/** For specs: why networks cannot be tried on this machine; null when they can. */
export const whyNoNetworks = async (): Promise<string | null> => {
  if (process.getuid?.() !== 0) return 'not root';
  for (const tool of ['ip', 'nft', 'dnsmasq', 'busybox', 'flock'])
    if (!(await succeeds(['which', tool]))) return `${tool} is not installed`;
  const probe = `omv-probe-${process.pid}`;
  if (!(await succeeds(['ip', 'netns', 'add', probe]))) return 'network namespaces cannot be made';
  await succeeds(['ip', 'netns', 'delete', probe]);
  return null;
};

/** A rule that lets everything pass but what `over` says. */
export const rule = (
  direction: 'ingress' | 'egress',
  ethertype: 'IPv4' | 'IPv6',
  over: Partial<PortPlug['rules'][number]> = {},
): PortPlug['rules'][number] => ({
  direction,
  ethertype,
  protocol: null,
  portMin: null,
  portMax: null,
  remotePrefixes: [ethertype === 'IPv4' ? '0.0.0.0/0' : '::/0'],
  remoteGroup: null,
  ...over,
});

/** A network for a spec, and namespaces that pose as its guests: their veths take the place of the taps of QEMU. */
export class PosedGuests {
  readonly networkId = randomUUID();
  /** What agents were asked for as metadata. */
  readonly asked: string[] = [];
  private readonly cloudId = `e2e-${randomUUID()}`;
  private readonly posed = new Set<number>();
  private readonly agents: LinuxNetworkPlug[] = [];

  private constructor(
    readonly folder: string,
    private readonly outsidePool: string,
  ) {}

  static async open(outsidePool: string): Promise<PosedGuests> {
    const folder = await mkdtemp('/tmp/omv-network-');
    await run(['chmod', '755', folder]);
    return new PosedGuests(folder, outsidePool);
  }

  get names(): Names {
    return new Names(this.cloudId, this.folder);
  }

  async agent(name: string, bridges: Readonly<Record<string, string>> = {}): Promise<LinuxNetworkPlug> {
    const agent = await LinuxNetworkPlug.open({
      cloudId: this.cloudId,
      agent: name,
      stateDirectory: this.folder,
      outsidePool: this.outsidePool,
      bridges,
      onMetadata: async (network, source, path) => {
        this.asked.push(`${name} ${network} ${source} ${path}`);
        return { status: 200, contentType: 'text/plain', body: `${name} says ${source}` };
      },
    });
    this.agents.push(agent);
    return agent;
  }

  plan(subnets: readonly Partial<NetworkPlan['subnets'][number]>[], provider?: NetworkPlan['provider']): NetworkPlan {
    const defaults = { dhcp: true, dnsNameservers: [], hostRoutes: [], ipv6AddressMode: null, ipv6RaMode: null };
    return {
      networkId: this.networkId,
      projectId: 'p',
      mtu: 1400,
      ...(provider ? { provider } : {}),
      subnets: subnets.map((s) => ({ ...defaults, serviceAddress: s.gateway, ...s })),
    } as unknown as NetworkPlan;
  }

  port(n: number, addresses: readonly string[], rules: PortPlug['rules']): PortPlug {
    return {
      portId: randomUUID(),
      networkId: this.networkId,
      mac: `fa:16:3e:00:00:1${n}`,
      mtu: 1400,
      adminUp: true,
      portSecurity: true,
      hostname: `guest-${n}`,
      fixedIps: addresses.map((address) => ({ subnetId: this.networkId, address })),
      allowedPairs: [],
      securityGroups: [],
      rules,
      dhcpOptions: [],
      tag: null,
    } as unknown as PortPlug;
  }

  namespace(n: number): string {
    return `omv-guest-${process.pid}-${n}`;
  }

  /** Makes guest `n` at a port; the network has to be there. */
  async pose(n: number, { portId, mac }: PortPlug): Promise<void> {
    const name = this.namespace(n);
    this.posed.add(n);
    await run(['ip', 'netns', 'add', name]);
    await run(['ip', '-n', name, 'link', 'set', 'lo', 'up']);
    const tap = ['name', this.names.tap(portId), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name];
    await run(['ip', '-n', this.names.netns(this.networkId), 'link', 'add', ...tap]);
    await run(['ip', '-n', name, 'link', 'set', 'dev', 'eth0', 'address', mac, 'up']);
  }

  within(n: number, ...command: string[]): Promise<string> {
    return run(['ip', 'netns', 'exec', this.namespace(n), ...command]);
  }

  can(n: number, ...command: string[]): Promise<boolean> {
    return succeeds(['ip', 'netns', 'exec', this.namespace(n), ...command]);
  }

  /** True when one of two pings is answered. */
  async pings(n: number, ...target: string[]): Promise<boolean> {
    const once = () => this.can(n, 'busybox', 'ping', '-c', '1', '-W', '1', ...target);
    return (await once()) || once();
  }

  /** Runs a program of Node in a guest. @returns what it wrote */
  runs(n: number, program: string): Promise<string> {
    return this.within(n, process.execPath, '--input-type=module', '--eval', program);
  }

  /** Sends one UDP message from a guest. */
  async sends(n: number, to: { readonly address: string; readonly port: number }, text: string): Promise<void> {
    await this.runs(
      n,
      `import dgram from 'node:dgram';
       const socket = dgram.createSocket(${JSON.stringify(to.address.includes(':') ? 'udp6' : 'udp4')});
       socket.bind(() => {
         if (${!to.address.includes(':')}) socket.setBroadcast(true);
         socket.send(${JSON.stringify(text)}, ${to.port}, ${JSON.stringify(to.address)}, () => socket.close());
       });`,
    );
  }

  /** The first UDP message that a guest gets at a port within a second of what `act` does; empty when none comes. */
  async hears(n: number, port: number, act: () => Promise<void>): Promise<string> {
    const program = `import dgram from 'node:dgram';
      const socket = dgram.createSocket({ type: 'udp6', ipv6Only: false });
      socket.on('message', (text) => { process.stdout.write(text); process.exit(); });
      socket.bind(${port}, () => process.stdout.write('listens\\n'));
      process.stdin.resume().on('end', () => setTimeout(() => process.exit(), 1000));`;
    const command = ['netns', 'exec', this.namespace(n), process.execPath, '--input-type=module', '--eval', program];
    const child = spawn('ip', command, { stdio: ['pipe', 'pipe', 'inherit'] });
    let heard = '';
    child.stdout.on('data', (chunk: Buffer) => {
      heard += chunk;
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await act();
    child.stdin.end();
    await ended;
    return heard.replace('listens\n', '');
  }

  async close(): Promise<void> {
    for (const n of this.posed) await succeeds(['ip', 'netns', 'delete', this.namespace(n)]);
    for (const agent of this.agents) await agent.close();
    await LinuxNetworkPlug.removeNetworks({ cloudId: this.cloudId, stateDirectory: this.folder });
    await rm(this.folder, { recursive: true, force: true });
  }
}
