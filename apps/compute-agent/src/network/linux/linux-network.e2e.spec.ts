import { randomUUID } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import type { SecurityGroupId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NetworkPlan, PortPlug } from '../network-plug.js';
import type { LinuxNetworkPlug } from './linux-network-plug.js';
import { PosedGuests, rule, whyNoNetworks } from './posed-guests.js';
import { run, succeeds } from './run.js';

const reason = await whyNoNetworks();
if (reason) console.log(`the Linux network was not tried: ${reason}`);

const egress = rule('egress', 'IPv4');
const ingress = (over: Parameters<typeof rule>[2]) => rule('ingress', 'IPv4', over);

describe.skipIf(reason !== null)('a network of Linux', () => {
  let guests: PosedGuests;
  let first: LinuxNetworkPlug;
  let second: LinuxNetworkPlug;
  let ports: PortPlug[];
  let plan: NetworkPlan;
  const ssh = ingress({ protocol: '6', portMin: 22, portMax: 22 });
  const inGuest = (n: number, ...command: string[]) => guests.within(n, ...command);
  const pings = (n: number, ...target: string[]) => guests.pings(n, ...target);

  beforeAll(async () => {
    guests = await PosedGuests.open('100.127.192.0/24');
    const { folder } = guests;
    first = await guests.agent('first');
    second = await guests.agent('second');
    // Answers pings; and guest 2, on another agent, lets nothing in.
    ports = [
      {
        ...guests.port(1, ['10.77.0.11'], [egress, ingress({ protocol: '1' }), ssh]),
        dhcpOptions: [
          { name: 'bootfile-name', value: 'pxelinux.0', version: 4 },
          { name: 'dns-server', value: '192.0.2.54', version: 4 },
        ],
      },
      guests.port(2, ['10.77.0.12'], [egress]),
    ];
    const [dnsNameservers, hostRoutes] = [['192.0.2.53'], [{ destination: '192.0.2.0/24', nexthop: '10.77.0.9' }]];
    plan = guests.plan([{ version: 4, cidr: '10.77.0.0/24', gateway: '10.77.0.1', dnsNameservers, hostRoutes }]);
    await Promise.all([first.ensure(plan), second.ensure(plan)]);
    for (const [i, port] of ports.entries()) {
      await guests.pose(i + 1, port);
      await (i === 0 ? first : second).plug(port, 's');
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

  afterAll(() => guests?.close());

  it('gives each guest its address, routes, MTU and name by DHCP, and what its port asks for', async () => {
    for (const n of [1, 2]) {
      const out = join(guests.folder, `lease-${n}`);
      const wants = ['staticroutes', 'mtu', 'hostname', 'bootfile'].flatMap((o) => ['-O', o]);
      const client = [
        'udhcpc',
        '-i',
        'eth0',
        '-nqf',
        '-s',
        join(guests.folder, 'dhcp.sh'),
        '-t',
        '10',
        '-T',
        '1',
        ...wants,
      ];
      await inGuest(n, 'env', `OUT=${out}`, 'busybox', ...client);
      const lease = await run(['cat', out]);
      expect(lease).toContain(`ip=10.77.0.1${n}`);
      expect(lease).toContain('mtu=1400');
      expect(lease).toContain(`hostname=guest-${n}`);
      expect(lease).toContain(n === 1 ? 'dns=192.0.2.54' : 'dns=192.0.2.53');
      expect(lease.includes('bootfile=pxelinux.0')).toBe(n === 1);
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
    expect(guests.asked).toEqual([
      `first ${guests.networkId} 10.77.0.11 /openstack`,
      `second ${guests.networkId} 10.77.0.12 /openstack`,
    ]);
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
    await inGuest(2, 'ip', 'link', 'set', 'dev', 'eth0', 'address', ports[1]!.mac);
    await inGuest(1, 'ip', 'neigh', 'flush', 'all');
    expect(routes).toContain('default');
    expect(await pings(2, '10.77.0.11')).toBe(true);
  });

  it('drops forged ARP', async () => {
    await inGuest(2, 'ip', 'addr', 'add', '10.77.0.1/32', 'dev', 'eth0');
    await inGuest(1, 'ip', 'neigh', 'flush', 'all');
    await guests.can(2, 'busybox', 'arping', '-U', '-c', '2', '-I', 'eth0', '10.77.0.1');
    expect(await pings(1, '10.77.0.1')).toBe(true);
    expect(await inGuest(1, 'ip', 'neigh')).not.toContain(ports[1]!.mac);
    await inGuest(2, 'ip', 'addr', 'del', '10.77.0.1/32', 'dev', 'eth0');
  });

  it('takes up changed rules at once', async () => {
    await second.plug({ ...ports[1]!, rules: [egress, ingress({ protocol: '1' })] }, 's');
    expect(await pings(1, '10.77.0.12')).toBe(true);
    await second.plug(
      {
        ...ports[1]!,
        rules: [egress, ingress({ protocol: '1', remotePrefixes: ['10.77.0.50/32'] })],
      },
      's',
    );
    expect(await pings(1, '10.77.0.12')).toBe(false);
  });

  it('lets no group be passed by what is sent to all', async () => {
    const toAll = () => guests.sends(1, { address: '10.77.0.255', port: 9_999 }, 'to all');
    const listening = ingress({ protocol: '17', portMin: 9_999, portMax: 9_999 });
    await second.plug({ ...ports[1]!, rules: [egress] }, 's');
    expect(await guests.hears(2, 9_999, toAll)).toBe('');
    // Neither by an address that is none of the port's in a frame that is.
    await inGuest(1, 'ip', 'neigh', 'replace', '10.77.0.200', 'lladdr', ports[1]!.mac, 'dev', 'eth0');
    await inGuest(2, 'ip', 'addr', 'add', '10.77.0.200/32', 'dev', 'lo');
    const elsewhere = () => guests.sends(1, { address: '10.77.0.200', port: 9_999 }, 'elsewhere');
    expect(await guests.hears(2, 9_999, elsewhere)).toBe('');
    await second.plug({ ...ports[1]!, rules: [egress, listening] }, 's');
    expect(await guests.hears(2, 9_999, toAll)).toBe('to all');
  });

  it('judges what goes to a port by its own rules, although another may use its range', async () => {
    const wide = { mac: ports[0]!.mac, address: '10.77.0.0/24' };
    await first.plug({ ...ports[0]!, allowedPairs: [wide], rules: [egress] }, 's');
    await second.plug({ ...ports[1]!, rules: [egress, ingress({ protocol: '1' })] }, 's');
    expect(await pings(1, '10.77.0.12')).toBe(true);
    expect(await pings(2, '10.77.0.11')).toBe(false);
    await first.plug(ports[0]!, 's');
    await second.plug(ports[1]!, 's');
    expect(await pings(2, '10.77.0.11')).toBe(true);
  });

  it('lets in who is in a group that a rule names, for as long as it is', async () => {
    const securityGroupId = randomUUID() as SecurityGroupId;
    const joined = (addresses: string[], whole = false) =>
      first.regroup([{ securityGroupId, whole, members: [{ portId: ports[0]!.portId, addresses }] }]);
    const trusting = [egress, ingress({ protocol: '1', remotePrefixes: [], remoteGroup: securityGroupId })];
    await second.plug({ ...ports[1]!, rules: trusting }, 's');
    expect(await pings(1, '10.77.0.12')).toBe(false);
    await joined(['10.77.0.11'], true);
    expect(await pings(1, '10.77.0.12')).toBe(true);
    await joined([]);
    // What was let in stays tracked: another ping is another connection.
    expect(await pings(1, '10.77.0.12')).toBe(false);
    await second.plug({ ...ports[1]!, rules: [egress] }, 's');
  });

  it("lets guests out under the machine's addresses, and into nothing that listens on it", async () => {
    const outside = `omv-world-${process.pid}`;
    await run(['ip', 'netns', 'add', outside]);
    const device = `ovw${process.pid}`.slice(0, 15);
    // Of its own, where several of these run on one machine.
    const world = `100.127.${194 + (process.pid % 60)}`;
    let inner: Server | undefined;
    try {
      await run(['ip', 'link', 'add', 'name', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside]);
      await run(['ip', 'addr', 'add', `${world}.1/24`, 'dev', device]);
      await run(['ip', 'link', 'set', 'dev', device, 'up']);
      await run(['ip', '-n', outside, 'addr', 'add', `${world}.2/24`, 'dev', 'eth0']);
      await run(['ip', '-n', outside, 'link', 'set', 'dev', 'eth0', 'up']);
      expect(await pings(1, `${world}.2`)).toBe(true);
      inner = createServer((_, response) => response.end('secret'));
      await new Promise<void>((resolve) => inner!.listen(0, `${world}.1`, () => resolve()));
      const { port } = inner.address() as { port: number };
      const url = `http://${world}.1:${port}/`;
      expect(await guests.can(1, 'curl', '-s', '--max-time', '2', url)).toBe(false);
      expect(await succeeds(['ip', 'netns', 'exec', outside, 'curl', '-s', '--max-time', '20', url])).toBe(true);
    } finally {
      inner?.close();
      await succeeds(['ip', 'link', 'delete', 'dev', device]);
      await succeeds(['ip', 'netns', 'delete', outside]);
    }
  });

  it('reaches guests from the namespace only as their groups allow', async () => {
    const reach = first.reach(guests.networkId);
    expect(await succeeds([...reach, 'busybox', 'ping', '-c', '1', '-W', '2', '10.77.0.11'])).toBe(true);
    expect(await succeeds([...reach, 'busybox', 'ping', '-c', '1', '-W', '1', '10.77.0.12'])).toBe(false);
  });

  it('outlives its agents, and is taken up again by the next one', async () => {
    await first.close();
    await second.close();
    expect(await pings(2, '10.77.0.11')).toBe(true);
    first = await guests.agent('first');
    second = await guests.agent('second');
    await first.ensure(plan);
    expect(await first.list()).toEqual([{ portId: ports[0]!.portId, serverId: 's' }]);
    expect(await second.list()).toEqual([{ portId: ports[1]!.portId, serverId: 's' }]);
    expect(await inGuest(1, 'curl', '-s', '--max-time', '10', 'http://169.254.169.254/')).toBe('first says 10.77.0.11');
  });

  it('makes a tap device for a guest, and the network anew when its namespace is gone', async () => {
    const { names } = guests;
    const extra = guests.port(3, ['10.77.0.13'], []);
    const nic = await first.plug(extra, 'another');
    const [netns, tap] = [names.netns(guests.networkId), names.tap(extra.portId)];
    expect(nic).toMatchObject({ mac: extra.mac, attachment: { kind: 'tap', netns, tap } });
    expect(await run(['ip', '-n', netns, 'link', 'show', 'dev', tap])).toContain('master br0');
    await first.unplug(extra.portId);
    await first.unplug(extra.portId);
    expect(await succeeds(['ip', '-n', netns, 'link', 'show', 'dev', tap])).toBe(false);
  });

  it('plugs many ports together, and those that can be when one cannot', async () => {
    const many = Array.from({ length: 20 }, (_, i) => guests.port(3, [`10.77.0.${100 + i}`], [egress]));
    const bad = { ...guests.port(4, ['10.77.0.99'], []), mac: 'no MAC; flush ruleset' };
    const results = await Promise.allSettled([...many, bad].map((port) => first.plug(port, 'many')));
    expect(results.map((r) => r.status)).toEqual([...many.map(() => 'fulfilled'), 'rejected']);
    const { names } = guests;
    const netns = names.netns(guests.networkId);
    const links = await run(['ip', '-n', netns, 'link', 'show', 'master', 'br0']);
    for (const { portId } of many) expect(links).toContain(names.tap(portId));
    expect((await first.list()).filter((p) => p.serverId === 'many')).toHaveLength(many.length);
    await Promise.all(many.map(({ portId }) => first.unplug(portId)));
    expect(await run(['ip', '-n', netns, 'link', 'show', 'master', 'br0'])).not.toContain(names.tap(many[0]!.portId));
    expect((await first.list()).map((p) => p.serverId)).not.toContain('many');
  });

  it('brings the filter up to date that an agent was cut off from writing', async () => {
    const { names } = guests;
    const { portId } = ports[1]!;
    const inForce = () => run([...first.reach(guests.networkId), 'nft', 'list', 'table', 'inet', 'omnivisor']);
    const changed = { ...ports[1]!, rules: [ingress({ protocol: '132' })] };
    const file = names.portFile(guests.networkId, portId);
    // What is left behind between the port's file and the filter.
    await writeFile(join(names.networkDirectory(guests.networkId), 'filter.stale'), '');
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), plug: changed }));
    expect(await inForce()).not.toContain('sctp');
    await second.plug(changed, 's');
    expect(await inForce()).toMatch(/132|sctp/);
  });

  it('leaves nothing behind when everything is removed', async () => {
    const { names, folder } = guests;
    // Also what the files in the state directory do not tell of.
    await rm(names.networkDirectory(guests.networkId), { recursive: true });
    await guests.close();
    expect(await run(['ip', 'netns', 'list'])).not.toContain(names.prefix);
    expect(await run(['ip', 'link'])).not.toContain(names.outsidePrefix);
    expect(await run(['nft', 'list', 'tables'])).not.toContain(names.rootTable);
    expect(await run(['ps', 'ax', '-o', 'args'])).not.toContain(folder);
  });
});
