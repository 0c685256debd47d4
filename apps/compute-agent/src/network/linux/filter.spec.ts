import { describe, expect, it } from 'vitest';
import type { NetworkPlan, PortPlug } from '../network-plug.js';
import { addressesChangedHands, dnsmasqHosts, reachableResolvers } from './dnsmasq.js';
import { networkFilter } from './filter.js';

const plan = { subnets: [{ version: 4, cidr: '10.0.0.0/24' }] } as unknown as NetworkPlan;
const group = '00000000-0000-4000-8000-00000000000a';
const members = new Map([[group, ['10.0.0.7', 'fd00::7', '10.0.0.7']]]);
const plug = (over: object = {}): PortPlug =>
  ({
    portId: '00000000-0000-4000-8000-000000000001',
    mac: 'fa:16:3e:00:00:01',
    portSecurity: true,
    fixedIps: [{ address: '10.0.0.5' }],
    allowedPairs: [],
    rules: [],
    ...over,
  }) as unknown as PortPlug;
const text = (over?: object) => networkFilter(plan, [{ plug: plug(over), tap: 'tap1' }], '100.64.0.1', members);

describe('the filter of a network', () => {
  it('replaces its tables in one transaction', () => {
    expect(text()).toMatch(/^add table bridge omnivisor\ndelete table bridge omnivisor\ntable bridge omnivisor \{/);
    expect(text()).toContain('add table inet omnivisor\ndelete table inet omnivisor\ntable inet omnivisor {');
  });
  it('pins a tap to its MAC and addresses, and a group to those', () => {
    expect(text()).toContain('ether saddr != { fa:16:3e:00:00:01 } counter drop');
    expect(text()).toContain('10.0.0.5 : jump in_00000000_0000_4000_8000_000000000001');
  });
  it('leaves a port without port security alone', () => {
    expect(text({ portSecurity: false })).not.toContain('iifname "tap1"');
  });
  const rule = (over: object) => ({
    direction: 'ingress',
    ethertype: 'IPv4',
    protocol: null,
    portMin: null,
    portMax: null,
    remotePrefixes: ['0.0.0.0/0'],
    remoteGroup: null,
    ...over,
  });
  it('writes rules of every kind', () => {
    const rules = [
      rule({ protocol: '6', portMin: 80, portMax: 90, remotePrefixes: ['192.0.2.0/24'] }),
      rule({ protocol: 'icmp', portMin: 8, portMax: 0 }),
      rule({ remotePrefixes: [] }),
    ];
    expect(text({ rules })).toContain('meta nfproto ipv4 ip saddr 192.0.2.0/24 meta l4proto 6 th dport 80-90 return');
    expect(text({ rules })).toContain('meta nfproto ipv4 meta l4proto 1 icmp type 8 icmp code 0 return');
    expect(text({ rules }).match(/ return$/gm)).toHaveLength(2);
  });
  it('keeps the members of a group in a set that rules name', () => {
    const rules = [rule({ remotePrefixes: [], remoteGroup: group })];
    const name = 'group4_00000000_0000_4000_8000_00000000000a';
    expect(text({ rules })).toContain(`set ${name} {\ntype ipv4_addr\nelements = { 10.0.0.7 }\n}`);
    expect(text({ rules })).toContain(`meta nfproto ipv4 ip saddr @${name} return`);
    expect(text()).not.toContain('set group4');
  });
  it('puts a shared address under the rules of its port', () => {
    const pairs = { allowedPairs: [{ mac: 'fa:16:3e:00:00:01', address: '10.0.0.99' }] };
    expect(text(pairs)).toContain('ip saddr 10.0.0.99 jump out_00000000_0000_4000_8000_000000000001');
  });
  it('takes no text that is not what it should be', () => {
    const hostile = '10.0.0.1; flush ruleset';
    expect(() => text({ fixedIps: [{ address: hostile }] })).toThrow('not a address');
    expect(() => text({ mac: 'fa:16:3e:00:00:01 }' })).toThrow('not a MAC');
    expect(() => text({ portId: '../x' })).toThrow('not a UUID');
  });
});

describe('DHCP', () => {
  it('gives no name that is no host name', () => {
    expect(dnsmasqHosts([plug({ hostname: 'a,b\nset' })])).toBe('fa:16:3e:00:00:01,10.0.0.5\n');
  });
  it('notices an address that passed to another MAC', () => {
    expect(addressesChangedHands('m1,10.0.0.5,a\n', 'm2,10.0.0.5,b\n')).toBe(true);
    expect(addressesChangedHands('m1,10.0.0.5,a\n', 'm1,10.0.0.5,a\nm2,10.0.0.6,b\n')).toBe(false);
  });
  it('asks only resolvers that a network can reach', () => {
    expect(reachableResolvers('nameserver 127.0.0.53\nnameserver 192.0.2.1\n')).toEqual(['192.0.2.1']);
  });
});
