import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whyNoNetworks } from '../../network/linux/posed-guests.js';
import { run, succeeds } from '../../network/linux/run.js';
import type { GuardRule } from '../hypervisor-driver.js';
import type { Nic } from './definition.js';
import { deviceOf, guardOf } from './guard.js';

const whyNot = await whyNoNetworks();
const dom0 = `omv-xen-${process.pid}`;
const namespace = (name: string) => `${dom0}-${name}`;
const within = (name: string, ...command: string[]) => ['ip', 'netns', 'exec', namespace(name), ...command];
const inDom0 = (...command: string[]) => run(['ip', 'netns', 'exec', dom0, ...command]);

const rule = (direction: GuardRule['direction'], over: Partial<GuardRule> = {}): GuardRule => ({
  ...{ direction, ethertype: 'IPv4', protocol: null, portMin: null, portMax: null },
  ...{ remotePrefixes: ['0.0.0.0/0'], ...over },
});

/** A namespace that poses as a guest; its veth takes the place of the device that Xen makes. */
interface Posed {
  readonly id: ServerId;
  readonly nic: Nic;
}
let made = 0;
const pose = async (name: string, address: string, rules: GuardRule[] | null, bridge = 'xenbr0'): Promise<Posed> => {
  const mac = `fa:16:3e:00:00:0${++made}`;
  const guard = rules && { addresses: [{ mac, ip: address }], rules };
  const nic = { portId: randomUUID(), mac, mtu: 1500, bridge, zone: bridge === 'xenbr0' ? 1 : 43, guard };
  const device = deviceOf(nic.portId);
  const own = namespace(name);
  await run(['ip', 'netns', 'add', own]);
  const veth = ['name', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', own];
  await run(['ip', '-n', dom0, 'link', 'add', ...veth]);
  await run(['ip', '-n', own, 'link', 'set', 'dev', 'eth0', 'address', mac, 'up']);
  await run(['ip', '-n', own, 'addr', 'add', `${address}/24`, 'dev', 'eth0']);
  const posed = { id: ServerId.parse(randomUUID()), nic };
  await load(posed);
  await run(['ip', '-n', dom0, 'link', 'set', 'dev', device, 'master', bridge, 'up']);
  return posed;
};
const load = ({ id, nic }: Posed) => run(['ip', 'netns', 'exec', dom0, 'nft', '-f', '-'], guardOf(id, [nic]));
const pings = (from: string, ...target: string[]) =>
  succeeds(within(from, 'busybox', 'ping', '-c', '1', '-W', '1', ...target));

const node = (program: string) => [process.execPath, '--input-type=module', '--eval', program];

/** Whether what one sends by UDP from and to these ports gets there. */
const hears = async (to: string, from: string, address: string, ports: readonly [number, number]): Promise<boolean> => {
  const [ip, ...args] = within(
    to,
    ...node(`import dgram from 'node:dgram';
      const socket = dgram.createSocket('udp4').on('message', () => { console.log('heard'); process.exit(); });
      socket.bind(${ports[1]}, () => console.log('listens'));
      process.stdin.resume().on('end', () => setTimeout(() => process.exit(), 300));`),
  );
  const child = spawn(ip!, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (text) => {
    said += text;
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  await run(
    within(
      from,
      ...node(`import dgram from 'node:dgram';
        const socket = dgram.createSocket('udp4');
        socket.bind(${ports[0]}, () => socket.send('x', ${ports[1]}, '${address}', () => socket.close()));`),
    ),
  );
  child.stdin.on('error', () => undefined).end();
  await ended;
  return said.includes('heard');
};

describe.skipIf(whyNot !== null)(`the filter of guarded ports${whyNot ? ` (${whyNot})` : ''}`, () => {
  let open: Posed;
  beforeAll(async () => {
    await run(['ip', 'netns', 'add', dom0]);
    for (const bridge of ['xenbr0', 'xenbr0.42']) {
      await run(['ip', '-n', dom0, 'link', 'add', 'name', bridge, 'type', 'bridge', 'forward_delay', '0']);
      await run(['ip', '-n', dom0, 'link', 'set', 'dev', bridge, 'up']);
    }
    await run(['ip', '-n', dom0, 'addr', 'add', '10.9.0.1/24', 'dev', 'xenbr0']);
    await inDom0('sysctl', '-qw', 'net.bridge.bridge-nf-call-iptables=1', 'net.bridge.bridge-nf-call-ip6tables=1');
    await pose('world', '10.9.0.2', null);
    await pose('closed', '10.9.0.5', [rule('egress')]);
    const fromClosed = { protocol: 'icmp', remotePrefixes: ['10.9.0.5/32'] };
    open = await pose('open', '10.9.0.6', [rule('egress'), rule('ingress', fromClosed)]);
    // The same address in another network.
    await pose('other', '10.9.0.5', [rule('egress'), rule('ingress')], 'xenbr0.42');
    await pose('beside', '10.9.0.2', null, 'xenbr0.42');
  }, 30_000);
  afterAll(async () => {
    for (const name of ['world', 'closed', 'open', 'other', 'beside'])
      await succeeds(['ip', 'netns', 'delete', namespace(name)]);
    await succeeds(['ip', 'netns', 'delete', dom0]);
  });

  it('lets a group block one direction, and the replies of the other pass', async () => {
    expect(await pings('closed', '10.9.0.6')).toBe(true);
    expect(await pings('open', '10.9.0.5')).toBe(false);
    expect(await pings('world', '10.9.0.6')).toBe(false);
    expect(await pings('open', '10.9.0.2')).toBe(true);
  });

  it('judges networks with the same addresses each by its own rules', async () => {
    expect(await pings('beside', '10.9.0.5')).toBe(true);
    expect(await pings('world', '10.9.0.5')).toBe(false);
    // A connection that is known in one is unknown in the other.
    expect(await hears('other', 'beside', '10.9.0.5', [7000, 7001])).toBe(true);
    expect(await hears('beside', 'other', '10.9.0.2', [7001, 7000])).toBe(true);
    expect(await hears('closed', 'world', '10.9.0.5', [7000, 7001])).toBe(false);
  });

  it('holds for what dom0 itself sends, too', async () => {
    expect(await pings('closed', '10.9.0.1')).toBe(true);
    expect(await succeeds(['ip', 'netns', 'exec', dom0, 'busybox', 'ping', '-c1', '-W1', '10.9.0.5'])).toBe(false);
  });

  it('drops what a guest sends under an address that is not its own', async () => {
    await run(within('open', 'ip', 'addr', 'add', '10.9.0.99/24', 'dev', 'eth0'));
    expect(await pings('open', '-I', '10.9.0.99', '10.9.0.2')).toBe(false);
    expect(await pings('open', '-I', '10.9.0.6', '10.9.0.2')).toBe(true);
  });

  it('drops forged ARP', async () => {
    const asks = (source: string) =>
      succeeds(within('open', 'busybox', 'arping', '-c', '1', '-w', '1', '-I', 'eth0', '-s', source, '10.9.0.2'));
    expect(await asks('10.9.0.99')).toBe(false);
    expect(await asks('10.9.0.6')).toBe(true);
  });

  it('lets no guest be a server of DHCP, and answers of a real one in', { timeout: 20_000 }, async () => {
    expect(await hears('closed', 'world', '10.9.0.5', [67, 68])).toBe(true);
    expect(await hears('closed', 'world', '10.9.0.5', [6700, 6800])).toBe(false);
    expect(await hears('world', 'open', '10.9.0.2', [67, 68])).toBe(false);
  });

  it('takes up changed rules at once', async () => {
    const { nic } = open;
    const all = { ...nic, guard: { ...nic.guard!, rules: [rule('egress'), rule('ingress')] } };
    await load({ ...open, nic: all });
    expect(await pings('world', '10.9.0.6')).toBe(true);
    await load(open);
    expect(await pings('world', '10.9.0.6')).toBe(false);
  });

  it('lets nothing pass a port that is cut off', { timeout: 20_000 }, async () => {
    const cut = { ...open.nic, guard: { addresses: [], rules: [], cutOff: true as const } };
    const asks = () => succeeds(within('open', 'busybox', 'arping', '-c', '1', '-w', '1', '-I', 'eth0', '10.9.0.2'));
    const isAsked = () =>
      succeeds(within('world', 'busybox', 'arping', '-c', '1', '-w', '1', '-I', 'eth0', '10.9.0.6'));
    expect([await asks(), await isAsked()]).toEqual([true, true]);
    await load({ ...open, nic: cut });
    expect([await asks(), await isAsked()]).toEqual([false, false]);
    await load(open);
    expect(await asks()).toBe(true);
    // As Xen names it.
    const names = [deviceOf(open.nic.portId), 'vif7.0'] as const;
    const rename = async (from: string, to: string) => {
      await run(['ip', '-n', dom0, 'link', 'set', 'dev', from, 'down']);
      await run(['ip', '-n', dom0, 'link', 'set', 'dev', from, 'name', to, 'up']);
    };
    await rename(...names);
    expect([await asks(), await isAsked()]).toEqual([true, true]);
    await load({ ...open, nic: cut });
    expect([await asks(), await isAsked()]).toEqual([false, false]);
    await rename(names[1], names[0]);
    await load(open);
    expect(await asks()).toBe(true);
  });

  it('drops what a guest sends under a MAC that is not its own', async () => {
    await run(within('open', 'ip', 'link', 'set', 'dev', 'eth0', 'address', 'fa:16:3e:00:00:99'));
    expect(await pings('open', '10.9.0.2')).toBe(false);
  });
});
