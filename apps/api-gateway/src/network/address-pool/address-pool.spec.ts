import type { AddressPoolEvent, NetworkId, PoolRange, PortId, ProjectId, SubnetId } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, expect, it } from 'vitest';
import { defaultPools, eui64, lowestFree, parseAddress, parseCidr } from '../common/addresses.js';
import { addressPool } from './address-pool.js';

const networkId = 'n' as NetworkId;
const projectId = 'p' as ProjectId;
const subnetId = 's' as SubnetId;
const [one, two] = ['1', '2'] as PortId[];
const mac = 'fa:16:3e:00:00:01';
const range: PoolRange = {
  subnetId,
  version: 4,
  cidr: '10.0.0.0/29',
  gateway: '10.0.0.1',
  allocationPools: [{ start: '10.0.0.2', end: '10.0.0.3' }],
  serviceAddress: null,
  eui64: false,
};
const given = specificationOf(addressPool);
const added: AddressPoolEvent = { type: 'AddressRangeAdded', data: { networkId, range } };
const held = (portId: PortId, of: string, address: string): AddressPoolEvent => ({
  type: 'AddressesAllocated',
  data: { networkId, portId, projectId, mac: of, fixedIps: [{ subnetId, address }] },
});
const allocate = (portId: PortId, over: object = {}) =>
  ({ type: 'allocate', networkId, portId, projectId, mac, fixedIps: 'any', ...over }) as const;

describe('the address pool of a network', () => {
  it('hands out the lowest free address', () => {
    given(added, held(two!, 'fa:16:3e:00:00:02', '10.0.0.2'))
      .when(allocate(one!))
      .then(held(one!, mac, '10.0.0.3'));
  });
  it('fills gaps that releases leave before it goes on', () => {
    const wide = { ...range, cidr: '10.0.0.0/24', allocationPools: [{ start: '10.0.0.2', end: '10.0.0.200' }] };
    const port = (n: number) => `p${n}` as PortId;
    let pool = addressPool.evolve(addressPool.initial, { type: 'AddressRangeAdded', data: { networkId, range: wide } });
    const take = (n: number, fixedIps: 'any' | { address: string }[] = 'any') => {
      const [event] = addressPool.decide(allocate(port(n), { mac: `m${n}`, fixedIps }), pool);
      pool = addressPool.evolve(pool, event!);
      return (event as { data: { fixedIps: { address: string }[] } }).data.fixedIps[0]!.address;
    };
    const release = (n: number) => {
      pool = addressPool.evolve(pool, { type: 'AddressesReleased', data: { networkId, portId: port(n) } });
    };
    expect(take(9, [{ address: '10.0.0.4' }])).toBe('10.0.0.4');
    expect([1, 2, 3, 4].map((n) => take(n))).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.5', '10.0.0.6']);
    release(2);
    release(3);
    release(9);
    expect([5, 6, 7, 8].map((n) => take(n))).toEqual(['10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.7']);
  });
  it('costs the same for the thousandth port as for the first', () => {
    const wide = { ...range, cidr: '10.0.0.0/16', allocationPools: [{ start: '10.0.0.2', end: '10.0.255.254' }] };
    let pool = addressPool.evolve(addressPool.initial, { type: 'AddressRangeAdded', data: { networkId, range: wide } });
    const cost = (from: number, to: number) => {
      const before = process.cpuUsage();
      for (let n = from; n < to; n++) {
        const command = allocate(`p${n}` as PortId, { mac: `m${n}` });
        for (const event of addressPool.decide(command, pool)) pool = addressPool.evolve(pool, event);
      }
      return process.cpuUsage(before).user;
    };
    cost(0, 2_000);
    const first = cost(2_000, 4_000);
    cost(4_000, 18_000);
    expect(cost(18_000, 20_000)).toBeLessThan(5 * first + 20_000);
    expect(pool.holdings.size).toBe(20_000);
  });
  it('says nothing when a port asks for what it has', () => {
    given(added, held(one!, mac, '10.0.0.2'))
      .when(allocate(one!))
      .thenNothing();
    given(added, held(one!, mac, '10.0.0.2'))
      .when(allocate(one!, { fixedIps: [{ subnetId, address: '10.0.0.2' }] }))
      .thenNothing();
  });
  it('refuses a MAC or an address of another port', () => {
    const taken = given(added, held(two!, mac, '10.0.0.2'));
    taken.when(allocate(one!)).thenRefused('conflict', /mac address/);
    taken
      .when(allocate(one!, { mac: ['fa:16:3e:00:00:09'], fixedIps: [{ address: '10.0.0.2' }] }))
      .thenRefused('conflict', /10\.0\.0\.2 is in use/);
  });
  it('is exhausted at some time, and has room again after a release', () => {
    const full = [added, held(one!, mac, '10.0.0.2'), held(two!, 'fa:16:3e:00:00:02', '10.0.0.3')];
    const third = allocate('3' as PortId, { mac: 'fa:16:3e:00:00:03' });
    given(...full)
      .when(third)
      .thenRefused('conflict', /No more IP addresses/);
    given(...full, { type: 'AddressesReleased', data: { networkId, portId: one! } })
      .when(third)
      .then(held('3' as PortId, 'fa:16:3e:00:00:03', '10.0.0.2'));
  });
  it('gives no address outside its ranges, no network and no broadcast address', () => {
    for (const address of ['10.0.0.0', '10.0.0.7', '10.9.9.9', '::1'])
      given(added)
        .when(allocate(one!, { fixedIps: [{ address }] }))
        .thenRefused('invalid');
  });
  it('does not close while a port holds something, and hands out nothing afterwards', () => {
    given(added, held(one!, mac, '10.0.0.2'))
      .when({ type: 'close', networkId })
      .thenRefused('conflict', /still in use/);
    given(added, { type: 'AddressPoolClosed', data: { networkId } }).when(allocate(one!)).thenRefused('notFound');
  });
  it('takes no overlapping range', () => {
    const other = { ...range, subnetId: 't' as SubnetId, cidr: '10.0.0.4/30' };
    given(added)
      .when({ type: 'addRange', networkId, range: other })
      .thenRefused('invalid', /overlaps/);
  });
});

describe('addresses', () => {
  it('are not octal, shortened or zoned', () => {
    for (const text of ['010.0.0.1', '10.1', '0x0a000001', 'fe80::1%eth0', '', '1.2.3.4/8', '1.2.3.256'])
      expect(parseAddress(text)).toBeNull();
  });
  it('leave the gateway out of the default pools', () => {
    const cidr = parseCidr('10.0.0.0/29')!;
    expect(defaultPools(cidr, parseAddress('10.0.0.3'))).toEqual([
      { start: '10.0.0.1', end: '10.0.0.2' },
      { start: '10.0.0.4', end: '10.0.0.6' },
    ]);
    expect(lowestFree([{ start: '10.0.0.1', end: '10.0.0.1' }], () => true)).toBeNull();
  });
  it('of SLAAC come from the MAC', () => {
    expect(eui64(parseCidr('fd00::/64')!, 'fa:16:3e:01:02:03')).toBe('fd00::f816:3eff:fe01:203');
  });
});
