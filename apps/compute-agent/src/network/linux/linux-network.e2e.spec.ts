import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NetworkPlan, PortPlug } from '../network-plug.js';
import { LinuxNetworkPlug } from './linux-network-plug.js';
import { Names } from './names.js';
import { run, succeeds } from './run.js';

const missing = async (): Promise<string | null> => {
  if (process.getuid?.() !== 0) return 'not root';
  for (const tool of ['ip', 'nft', 'dnsmasq', 'busybox', 'flock'])
    if (!(await succeeds(['which', tool]))) return `${tool} is not installed`;
  const probe = `omv-probe-${process.pid}`;
  if (!(await succeeds(['ip', 'netns', 'add', probe]))) return 'network namespaces cannot be made';
  await succeeds(['ip', 'netns', 'delete', probe]);
  return null;
};
const reason = await missing();
if (reason) console.log(`the Linux network was not tried: ${reason}`);

const cloudId = `e2e-${process.pid}`;
const networkId = randomUUID();
const any = { protocol: null, portMin: null, portMax: null } as const;
const egress = { ...any, direction: 'egress', ethertype: 'IPv4', remotePrefixes: ['0.0.0.0/0'] } as const;
const ingress = (over: object) => ({
  ...any,
  direction: 'ingress',
  ethertype: 'IPv4',
  remotePrefixes: ['0.0.0.0/0'],
  ...over,
});

const portOf = (n: number, rules: unknown[]): PortPlug =>
  ({
    portId: randomUUID(),
    networkId,
    mac: `fa:16:3e:00:00:1${n}`,
    mtu: 1400,
    adminUp: true,
    portSecurity: true,
    fixedIps: [{ subnetId: networkId, address: `10.77.0.1${n}` }],
    allowedPairs: [],
    securityGroups: [],
    rules,
    tag: null,
  }) as unknown as PortPlug;

describe.skipIf(reason !== null)('a network of Linux', () => {
  let folder: string;
  let names: Names;
  let first: LinuxNetworkPlug;
  let second: LinuxNetworkPlug;
  const asked: string[] = [];
  const ssh = ingress({ protocol: '6', portMin: 22, portMax: 22 });
  /** Answers pings; and guest 2, on another agent, lets nothing in. */
  const ports = [portOf(1, [egress, ingress({ protocol: '1' }), ssh]), portOf(2, [egress])] as const;
  const plan = {
    networkId,
    projectId: 'p',
    mtu: 1400,
    subnets: [
      {
        subnetId: networkId,
        version: 4,
        cidr: '10.77.0.0/24',
        gateway: '10.77.0.1',
        dhcp: true,
        serviceAddress: '10.77.0.1',
        dnsNameservers: ['192.0.2.53'],
        hostRoutes: [{ destination: '192.0.2.0/24', nexthop: '10.77.0.9' }],
      },
    ],
    leases: ports.map((p, i) => ({ mac: p.mac, address: p.fixedIps[0]!.address, hostname: `guest-${i + 1}` })),
  } as unknown as NetworkPlan;
  const guest = (n: number) => `omv-guest-${process.pid}-${n}`;
  const inGuest = (n: number, ...command: string[]) => run(['ip', 'netns', 'exec', guest(n), ...command]);
  const pings = (n: number, ...target: string[]) =>
    succeeds(['ip', 'netns', 'exec', guest(n), 'busybox', 'ping', '-c', '2', '-W', '1', ...target]);

  const agent = (name: string) =>
    LinuxNetworkPlug.open({
      cloudId,
      agent: name,
      stateDirectory: folder,
      outsidePool: '100.127.192.0/24',
      onMetadata: async (network, source, path) => {
        asked.push(`${name} ${network} ${source} ${path}`);
        return { status: 200, contentType: 'text/plain', body: `${name} says ${source}` };
      },
    });

  /** A namespace that poses as a guest: its veth takes the place of the tap that QEMU would open. */
  const pose = async (n: number, port: PortPlug) => {
    await run(['ip', 'netns', 'add', guest(n)]);
    await run(['ip', '-n', guest(n), 'link', 'set', 'lo', 'up']);
    const peer = ['peer', 'name', 'eth0', 'netns', guest(n)];
    await run([
      'ip',
      '-n',
      names.netns(networkId),
      'link',
      'add',
      'name',
      names.tap(port.portId),
      'type',
      'veth',
      ...peer,
    ]);
    await run(['ip', '-n', guest(n), 'link', 'set', 'dev', 'eth0', 'address', port.mac, 'up']);
  };

  beforeAll(async () => {
    folder = await mkdtemp('/tmp/omv-network-');
    await run(['chmod', '755', folder]);
    names = new Names(cloudId, folder);
    first = await agent('first');
    second = await agent('second');
    await Promise.all([first.ensureNetworks([plan]), second.ensureNetworks([plan])]);
    for (const [i, port] of ports.entries()) {
      await pose(i + 1, port);
      await (i === 0 ? first : second).plug(port);
    }
    const script = join(folder, 'dhcp.sh');
    await writeFile(
      script,
      `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
env > "$OUT"
set -- $staticroutes
while [ $# -gt 1 ]; do ip route replace "$1" via "$2" dev "$interface" onlink; shift 2; done
`,
      { mode: 0o755 },
    );
  });

  afterAll(async () => {
    for (const n of [1, 2]) await succeeds(['ip', 'netns', 'delete', guest(n)]);
    await second?.close();
    await first?.removeAll();
    await rm(folder, { recursive: true, force: true });
  });

  it('gives each guest its address, routes, MTU and name by DHCP', async () => {
    for (const n of [1, 2]) {
      const out = join(folder, `lease-${n}`);
      await run([
        'ip',
        'netns',
        'exec',
        guest(n),
        'env',
        `OUT=${out}`,
        'busybox',
        'udhcpc',
        '-i',
        'eth0',
        '-n',
        '-q',
        '-f',
        '-s',
        join(folder, 'dhcp.sh'),
        '-O',
        'staticroutes',
        '-O',
        'mtu',
        '-O',
        'hostname',
        '-t',
        '10',
        '-T',
        '1',
      ]);
      const lease = await run(['cat', out]);
      expect(lease).toContain(`ip=10.77.0.1${n}`);
      expect(lease).toContain('mtu=1400');
      expect(lease).toContain(`hostname=guest-${n}`);
      expect(lease).toContain('dns=192.0.2.53');
    }
    const routes = await inGuest(1, 'ip', 'route');
    expect(routes).toContain('default via 10.77.0.1');
    expect(routes).toContain('169.254.169.254 via 10.77.0.1');
    expect(routes).toContain('192.0.2.0/24 via 10.77.0.9');
  });

  it('lets a group block one direction, and the replies of the other pass', async () => {
    expect(await pings(2, '10.77.0.11')).toBe(true);
    expect(await pings(1, '10.77.0.12')).toBe(false);
  });

  it('answers metadata from the agent that has the guest, with the sure source address', async () => {
    const get = (n: number) =>
      inGuest(
        n,
        'curl',
        '-s',
        '--max-time',
        '10',
        '--retry',
        '5',
        '--retry-connrefused',
        'http://169.254.169.254/openstack',
      );
    expect(await get(1)).toBe('first says 10.77.0.11');
    expect(await get(2)).toBe('second says 10.77.0.12');
    expect(asked).toEqual([`first ${networkId} 10.77.0.11 /openstack`, `second ${networkId} 10.77.0.12 /openstack`]);
  });

  it('drops what a guest sends under an address that is not its own', async () => {
    await inGuest(2, 'ip', 'addr', 'add', '10.77.0.99/24', 'dev', 'eth0');
    expect(await pings(2, '-I', '10.77.0.99', '10.77.0.11')).toBe(false);
    await inGuest(2, 'ip', 'addr', 'del', '10.77.0.99/24', 'dev', 'eth0');
    expect(await pings(2, '10.77.0.11')).toBe(true);
  });

  it('drops what a guest sends under a MAC that is not its own', async () => {
    const routes = await inGuest(2, 'ip', 'route');
    await inGuest(2, 'ip', 'link', 'set', 'dev', 'eth0', 'address', 'fa:16:3e:00:00:66');
    expect(await pings(2, '10.77.0.11')).toBe(false);
    await inGuest(2, 'ip', 'link', 'set', 'dev', 'eth0', 'address', ports[1].mac);
    await inGuest(1, 'ip', 'neigh', 'flush', 'all');
    expect(routes).toContain('default');
    expect(await pings(2, '10.77.0.11')).toBe(true);
  });

  it('drops forged ARP', async () => {
    await inGuest(2, 'ip', 'addr', 'add', '10.77.0.1/32', 'dev', 'eth0');
    await inGuest(1, 'ip', 'neigh', 'flush', 'all');
    await succeeds(['ip', 'netns', 'exec', guest(2), 'busybox', 'arping', '-U', '-c', '2', '-I', 'eth0', '10.77.0.1']);
    expect(await pings(1, '10.77.0.1')).toBe(true);
    expect(await inGuest(1, 'ip', 'neigh')).not.toContain(ports[1].mac);
    await inGuest(2, 'ip', 'addr', 'del', '10.77.0.1/32', 'dev', 'eth0');
  });

  it('takes up changed rules at once', async () => {
    await second.plug({ ...ports[1], rules: [egress, ingress({ protocol: '1' })] } as PortPlug);
    expect(await pings(1, '10.77.0.12')).toBe(true);
    await second.plug({
      ...ports[1],
      rules: [egress, ingress({ protocol: '1', remotePrefixes: ['10.77.0.50/32'] })],
    } as PortPlug);
    expect(await pings(1, '10.77.0.12')).toBe(false);
  });

  it("lets guests out under the machine's addresses, and into nothing that listens on it", async () => {
    const outside = `omv-world-${process.pid}`;
    await run(['ip', 'netns', 'add', outside]);
    const device = `ovw${process.pid}`.slice(0, 15);
    let inner: Server | undefined;
    try {
      await run(['ip', 'link', 'add', 'name', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside]);
      await run(['ip', 'addr', 'add', '100.127.200.1/24', 'dev', device]);
      await run(['ip', 'link', 'set', 'dev', device, 'up']);
      await run(['ip', '-n', outside, 'addr', 'add', '100.127.200.2/24', 'dev', 'eth0']);
      await run(['ip', '-n', outside, 'link', 'set', 'dev', 'eth0', 'up']);
      expect(await pings(1, '100.127.200.2')).toBe(true);
      inner = createServer((_, response) => response.end('secret'));
      await new Promise<void>((resolve) => inner!.listen(0, '100.127.200.1', () => resolve()));
      const { port } = inner.address() as { port: number };
      const url = `http://100.127.200.1:${port}/`;
      expect(await succeeds(['ip', 'netns', 'exec', guest(1), 'curl', '-s', '--max-time', '2', url])).toBe(false);
      expect(await succeeds(['ip', 'netns', 'exec', outside, 'curl', '-s', '--max-time', '2', url])).toBe(true);
    } finally {
      inner?.close();
      await succeeds(['ip', 'link', 'delete', 'dev', device]);
      await succeeds(['ip', 'netns', 'delete', outside]);
    }
  });

  it('reaches guests from the namespace only as their groups allow', async () => {
    const reach = first.reach(networkId);
    expect(await succeeds([...reach, 'busybox', 'ping', '-c', '1', '-W', '2', '10.77.0.11'])).toBe(true);
    expect(await succeeds([...reach, 'busybox', 'ping', '-c', '1', '-W', '1', '10.77.0.12'])).toBe(false);
  });

  it('outlives its agents, and is taken up again by the next one', async () => {
    await first.close();
    await second.close();
    expect(await pings(2, '10.77.0.11')).toBe(true);
    first = await agent('first');
    second = await agent('second');
    await first.ensureNetworks([plan]);
    expect(await first.list()).toEqual([ports[0].portId]);
    expect(await second.list()).toEqual([ports[1].portId]);
    expect(await inGuest(1, 'curl', '-s', '--max-time', '10', 'http://169.254.169.254/')).toBe('first says 10.77.0.11');
  });

  it('makes a tap device for a guest, and the network anew when its namespace is gone', async () => {
    const extra = portOf(3, []);
    const nic = await first.plug(extra);
    const [netns, tap] = [names.netns(networkId), names.tap(extra.portId)];
    expect(nic).toMatchObject({ mac: extra.mac, attachment: { kind: 'tap', netns, tap } });
    expect(await run(['ip', '-n', netns, 'link', 'show', 'dev', tap])).toContain('master br0');
    await first.unplug(extra.portId);
    await first.unplug(extra.portId);
    expect(await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', tap])).toBe(false);
  });

  it('leaves nothing behind when everything is removed', async () => {
    await first.removeAll();
    expect(await run(['ip', 'netns', 'list'])).not.toContain(names.prefix);
    expect(await run(['ip', 'link'])).not.toContain(names.outsidePrefix);
    expect(await run(['nft', 'list', 'tables'])).not.toContain(names.rootTable);
    expect(await run(['ps', 'ax', '-o', 'args'])).not.toContain(folder);
  });
});
