import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { linkLocal } from '../../drivers/common/nft/anti-spoofing.js';
import type { PortPlug } from '../network-plug.js';
import type { LinuxNetworkPlug } from './linux-network-plug.js';
import { PosedGuests, rule, whyNoNetworks } from './posed-guests.js';

const reason = await whyNoNetworks();
if (reason) console.log(`IPv6 was not tried: ${reason}`);

const MAC = { 1: 'fa:16:3e:00:00:11', 2: 'fa:16:3e:00:00:12' } as const;
/** Made of prefix and MAC. */
const made = (n: 1 | 2) => linkLocal(MAC[n]).replace('fe80::', 'fd00:77::');
const leased = (n: 1 | 2) => `fd00:78::5${n}`;
const pingable = rule('ingress', 'IPv6', { protocol: '58' });
const egress = rule('egress', 'IPv6');

/** A client that asks DHCPv6 once, and writes the answer as hexadecimal digits. */
const dhcpv6 = (mac: string) => `import dgram from 'node:dgram';
  const option = (code, data) => {
    const head = Buffer.alloc(4);
    head.writeUInt16BE(code, 0);
    head.writeUInt16BE(data.length, 2);
    return Buffer.concat([head, data]);
  };
  const hex = (text) => Buffer.from(text, 'hex');
  // Client id (a link-layer address), an address for association 1, rapid commit; and which options are wanted.
  const solicit = Buffer.concat([hex('01000001'), option(1, hex('00030001${mac.replaceAll(':', '')}')),
    option(3, hex('000000010000000000000000')), option(14, Buffer.alloc(0)), option(6, hex('0017'))]);
  const socket = dgram.createSocket('udp6');
  socket.on('message', (answer) => { process.stdout.write(answer.toString('hex')); process.exit(); });
  const ask = () => socket.send(solicit, 547, 'ff02::1:2%eth0');
  socket.bind(546, () => { ask(); setInterval(ask, 500); });
  setTimeout(() => process.exit(), 4000);`;
const hexOf = (address: string) => {
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string) => text.split(':').filter(Boolean);
  const zeros = Array(8 - groups(head).length - groups(tail).length).fill('0');
  return [...groups(head), ...zeros, ...groups(tail)].map((g) => g.padStart(4, '0')).join('');
};

describe.skipIf(reason !== null)('an IPv6 network of Linux', () => {
  let guests: PosedGuests;
  let first: LinuxNetworkPlug;
  let second: LinuxNetworkPlug;
  let ports: PortPlug[];
  const eventually = async (holds: () => Promise<boolean>) => {
    const end = Date.now() + 6_000;
    while (!(await holds())) {
      if (Date.now() > end) return false;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return true;
  };
  const addresses = (n: number) => guests.within(n, 'ip', '-6', 'addr', 'show', 'dev', 'eth0');

  beforeAll(async () => {
    guests = await PosedGuests.open('100.127.193.0/24');
    first = await guests.agent('first');
    second = await guests.agent('second');
    ports = [guests.port(1, [made(1), leased(1)], [egress, pingable]), guests.port(2, [made(2), leased(2)], [egress])];
    const slaac = { ipv6AddressMode: 'slaac', ipv6RaMode: 'slaac' } as const;
    const stateful = { ipv6AddressMode: 'dhcpv6-stateful', ipv6RaMode: 'dhcpv6-stateful' } as const;
    const plan = guests.plan([
      { version: 6, cidr: 'fd00:77::/64', gateway: 'fd00:77::1', ...slaac },
      { version: 6, cidr: 'fd00:78::/64', gateway: 'fd00:78::1', dnsNameservers: ['2001:db8::53'], ...stateful },
    ]);
    await Promise.all([first.ensure(plan), second.ensure(plan)]);
    for (const [i, port] of ports.entries()) {
      await guests.pose(i + 1, port);
      await (i === 0 ? first : second).plug(port, 's');
    }
  }, 60_000);
  afterAll(() => guests?.close());

  it('advertises prefix and MTU, so that guests make the addresses of their ports', async () => {
    for (const n of [1, 2] as const) {
      const isUsable = (text: string) => text.includes(made(n)) && !text.includes('tentative');
      expect(await eventually(async () => isUsable(await addresses(n)))).toBe(true);
    }
    expect((await guests.within(1, 'cat', '/proc/sys/net/ipv6/conf/eth0/mtu')).trim()).toBe('1400');
    // Nothing leads out yet, and nobody is told that something does.
    expect(await guests.within(1, 'ip', '-6', 'route', 'show', 'default')).toBe('');
    expect(await addresses(1)).not.toContain('fd00:78:');
  });

  it('leases the address of the port, and names the name servers', async () => {
    for (const n of [1, 2] as const) {
      const answer = await guests.runs(n, dhcpv6(MAC[n]));
      expect(answer).toContain(hexOf(leased(n)));
      expect(answer).toContain(hexOf('2001:db8::53'));
    }
  });

  it('lets groups block one direction, and the replies of the other pass', async () => {
    for (const n of [1, 2] as const)
      await guests.within(n, 'ip', 'addr', 'add', `${leased(n)}/64`, 'dev', 'eth0', 'nodad');
    expect(await guests.pings(2, '-6', made(1))).toBe(true);
    expect(await guests.pings(2, '-6', leased(1))).toBe(true);
    expect(await guests.pings(1, '-6', made(2))).toBe(false);
  });

  it('lets no group be passed by link-local addresses, or by what is sent to all', async () => {
    expect(await guests.pings(2, '-6', `${linkLocal(MAC[1])}%eth0`)).toBe(true);
    expect(await guests.pings(1, '-6', `${linkLocal(MAC[2])}%eth0`)).toBe(false);
    const toAll = () => guests.sends(1, { address: 'ff02::1%eth0', port: 9_999 }, 'to all');
    expect(await guests.hears(2, 9_999, toAll)).toBe('');
  });

  it('drops what a guest sends under an address that is not its own', async () => {
    await guests.within(2, 'ip', 'addr', 'add', 'fd00:77::99/64', 'dev', 'eth0', 'nodad');
    expect(await guests.pings(2, '-6', '-I', 'fd00:77::99', made(1))).toBe(false);
    await guests.within(2, 'ip', 'addr', 'del', 'fd00:77::99/64', 'dev', 'eth0');
  });

  it('drops answers of a guest for the address of another', async () => {
    const stolen = ['fd00:77::1', leased(1)];
    for (const address of stolen) await guests.within(2, 'ip', 'addr', 'add', `${address}/128`, 'dev', 'eth0', 'nodad');
    const gatewayIsFound = async () => {
      for (let i = 0; i < 3; i++) {
        await guests.within(1, 'ip', '-6', 'neigh', 'flush', 'dev', 'eth0');
        expect(await guests.pings(1, '-6', 'fd00:77::1')).toBe(true);
        expect(await guests.within(1, 'ip', '-6', 'neigh', 'show', 'fd00:77::1')).not.toContain(MAC[2]);
      }
    };
    const canTakeItsOwn = async () => {
      await guests.within(1, 'ip', 'addr', 'del', `${leased(1)}/64`, 'dev', 'eth0');
      await guests.within(1, 'ip', 'addr', 'add', `${leased(1)}/64`, 'dev', 'eth0');
      expect(await eventually(async () => !(await addresses(1)).includes('tentative'))).toBe(true);
      expect(await addresses(1)).not.toContain('dadfailed');
    };
    await gatewayIsFound();
    await canTakeItsOwn();
    // A proxy answers under its own address, for those of others.
    const settings = ['forwarding', 'proxy_ndp'].map((name) => `net.ipv6.conf.eth0.${name}=1`);
    await guests.within(2, 'sysctl', '-qw', ...settings);
    for (const address of stolen) {
      await guests.within(2, 'ip', 'addr', 'del', `${address}/128`, 'dev', 'eth0');
      await guests.within(2, 'ip', '-6', 'neigh', 'add', 'proxy', address, 'dev', 'eth0');
    }
    await gatewayIsFound();
    await canTakeItsOwn();
    for (const address of stolen) await guests.within(2, 'ip', '-6', 'neigh', 'del', 'proxy', address, 'dev', 'eth0');
  });

  it('drops advertisements of a guest that poses as a router', async () => {
    const folder = join(guests.folder, 'rogue');
    await mkdir(folder);
    await guests.within(2, 'ip', 'addr', 'add', 'fd99::1/64', 'dev', 'eth0', 'nodad');
    const options = [
      '--no-daemon',
      '--port=0',
      '--interface=eth0',
      '--conf-file=/dev/null',
      '--enable-ra',
      '--user=root',
    ];
    const rogue = spawn('ip', [
      ...['netns', 'exec', guests.namespace(2), 'dnsmasq', ...options],
      ...[`--dhcp-leasefile=${folder}/leases`, `--pid-file=${folder}/pid`, '--dhcp-range=fd99::,ra-only,64'],
    ]);
    const said = new Promise<void>((resolve) => {
      rogue.stderr.on('data', (text: Buffer) => {
        if (/RTR-ADVERT/.test(`${text}`)) resolve();
      });
    });
    await said;
    expect(await addresses(1)).not.toContain('fd99:');
    rogue.kill();
    await guests.within(2, 'ip', 'addr', 'del', 'fd99::1/64', 'dev', 'eth0');
  });

  it('answers metadata to guests without IPv4, with an address of the port', async () => {
    const url = 'http://[fe80::a9fe:a9fe%25eth0]/openstack';
    const get = (n: number) =>
      guests.within(n, 'curl', '-s', '--max-time', '5', '--retry', '3', '--retry-connrefused', url);
    expect(await get(1)).toBe(`first says ${made(1)}`);
    expect(await get(2)).toBe(`second says ${made(2)}`);
  });
});
