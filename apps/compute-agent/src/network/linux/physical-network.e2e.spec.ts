import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NetworkPlan, PortPlug } from '../network-plug.js';
import type { LinuxNetworkPlug } from './linux-network-plug.js';
import { PosedGuests, rule, whyNoNetworks } from './posed-guests.js';
import { run, succeeds } from './run.js';

const hasVlans = async (): Promise<boolean> => {
  const netns = `omv-vlan-${process.pid}`;
  const made = ['link', 'add', 'link', 'one', 'name', 'v', 'type', 'vlan', 'id', '7'];
  await run(['ip', 'netns', 'add', netns]);
  await run(['ip', '-n', netns, 'link', 'add', 'name', 'one', 'type', 'veth', 'peer', 'name', 'two']);
  const knows = await succeeds(['ip', '-n', netns, ...made]);
  await run(['ip', 'netns', 'delete', netns]);
  return knows;
};

const reason = await whyNoNetworks();
if (reason) console.log(`physical networks were not tried: ${reason}`);

/** Some kernels are built without 802.1Q. */
const knowsVlans = reason === null && (await hasVlans());
if (reason === null && !knowsVlans) console.log('vlan networks were not tried: the kernel knows no vlan devices');

describe.skipIf(reason !== null).each([['flat', null], ...(knowsVlans ? [['vlan', 30] as const] : [])] as const)(
  'a %s network of Linux',
  (networkType, segmentationId) => {
    const bridge = `ovb${process.pid}${networkType[0]}`;
    const [wire, router, others] = [`${bridge}w`, `${bridge}r`, `${bridge}o`];
    let guests: PosedGuests;
    let plug: LinuxNetworkPlug;
    let port: PortPlug;
    let plan: NetworkPlan;
    const inRouter = (...args: string[]) => run(['ip', '-n', router, ...args]);

    beforeAll(async () => {
      guests = await PosedGuests.open('100.127.196.0/24');
      // The machine's bridge, and somebody else's router at the other end of its wire.
      await run(['ip', 'link', 'add', 'name', bridge, 'type', 'bridge', 'forward_delay', '0']);
      await run(['ip', 'link', 'set', 'dev', bridge, 'up']);
      await run(['ip', 'netns', 'add', router]);
      await run(['ip', 'link', 'add', 'name', wire, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', router]);
      await run(['ip', 'link', 'set', 'dev', wire, 'master', bridge, 'up']);
      await inRouter('link', 'set', 'dev', 'eth0', 'up');
      if (networkType === 'flat') await inRouter('addr', 'add', '10.78.30.1/24', 'dev', 'eth0');
      else {
        await run(['ip', 'netns', 'add', others]);
        for (const [tag, own, netns] of [
          [30, '10.78.30.1', router],
          // Somebody else's: one machine with both would answer in either for the addresses of the other.
          [31, '10.78.30.2', others],
        ] as const) {
          const vlan = `v${tag}`;
          await inRouter('link', 'add', 'link', 'eth0', 'name', vlan, 'netns', netns, 'type', 'vlan', 'id', `${tag}`);
          await run(['ip', '-n', netns, 'link', 'set', 'dev', vlan, 'up']);
          await run(['ip', '-n', netns, 'addr', 'add', `${own}/24`, 'dev', vlan]);
        }
      }
      plug = await guests.agent('first', { physnet1: bridge });
      const subnet = { version: 4 as const, cidr: '10.78.30.0/24', gateway: '10.78.30.1' };
      plan = guests.plan([{ ...subnet, serviceAddress: null, dhcp: false }], {
        networkType,
        physicalNetwork: 'physnet1',
        segmentationId,
      });
      await plug.ensure(plan);
      port = guests.port(1, ['10.78.30.11'], [rule('egress', 'IPv4')]);
      await guests.pose(1, port);
      await plug.plug(port, 's');
      await guests.within(1, 'ip', 'addr', 'add', '10.78.30.11/24', 'dev', 'eth0');
    });
    afterAll(async () => {
      await guests?.close();
      for (const netns of [others, router]) await succeeds(['ip', 'netns', 'delete', netns]);
      await succeeds(['ip', 'link', 'delete', 'dev', bridge]);
    });

    it('reaches what is on it, and nothing on another VLAN', async () => {
      expect(await guests.pings(1, '10.78.30.1')).toBe(true);
      if (networkType === 'vlan') expect(await guests.pings(1, '10.78.30.2')).toBe(false);
    });

    it('keeps its guests to their addresses and their rules', async () => {
      expect(await succeeds(['ip', 'netns', 'exec', router, 'busybox', 'ping', '-c1', '-W1', '10.78.30.11'])).toBe(
        false,
      );
      await plug.plug({ ...port, rules: [rule('egress', 'IPv4'), rule('ingress', 'IPv4')] }, 's');
      expect(await succeeds(['ip', 'netns', 'exec', router, 'busybox', 'ping', '-c1', '-W1', '10.78.30.11'])).toBe(
        true,
      );
      await guests.within(1, 'ip', 'addr', 'add', '10.78.30.99/24', 'dev', 'eth0');
      expect(await guests.pings(1, '-I', '10.78.30.99', '10.78.30.1')).toBe(false);
    });

    it('has no address of ours, and nothing that serves there', async () => {
      const netns = guests.names.netns(guests.networkId);
      expect(await run(['ip', '-n', netns, '-4', '-j', 'addr', 'show'])).not.toContain('169.254.169.254');
      expect((await run(['ip', 'netns', 'pids', netns])).trim()).toBe('');
      await plug.ensure(plan);
    });

    it('leaves the machine as it was when its last port goes', async () => {
      await plug.unplug(port.portId);
      expect(await succeeds(['ip', 'link', 'show', 'dev', guests.names.uplink(guests.networkId)])).toBe(false);
      expect(await succeeds(['ip', 'link', 'show', 'dev', bridge])).toBe(true);
    });
  },
);
