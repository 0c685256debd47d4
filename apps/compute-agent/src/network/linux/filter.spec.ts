import { describe, expect, it } from 'vitest';
import type { NetworkPlan, PortPlug } from '../network-plug.js';
import {
  addressesChangedHands,
  dnsmasqConfiguration,
  dnsmasqHosts,
  dnsmasqOptions,
  reachableResolvers,
} from './dnsmasq.js';
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
    dhcpOptions: [],
    ...over,
  }) as unknown as PortPlug;
const text = (over?: object) => networkFilter(plan, [{ plug: plug(over), tap: 'tap1' }], '100.64.0.1', members);

describe('the filter of a network', () => {
  it('replaces its tables in one transaction', () => {
    expect(text()).toMatch(/^add table bridge omnivisor\ndelete table bridge omnivisor\ntable bridge omnivisor \{/);
    expect(text()).toContain('add table inet omnivisor\ndelete table inet omnivisor\ntable inet omnivisor {');
  });
  it('OSSA-2021-004 pins a tap to its MAC and addresses, ARP included, and a group to those', () => {
    const chain = text()
      .match(/chain from_[\s\S]*?\n\}/)![0]
      .split('\n');
    expect(chain.filter((line) => line.includes('type arp'))).toEqual([
      'ether type arp arp saddr ether 00:00:00:00:00:00 counter drop',
      'ether type arp arp saddr ether != { fa:16:3e:00:00:01 } counter drop',
      'ether type arp arp saddr ip 0.0.0.0 accept',
      'ether type arp arp saddr ip 10.0.0.5 accept',
    ]);
    expect(chain.at(-2)).toBe('counter drop');
    expect(text()).toContain('ether saddr != { fa:16:3e:00:00:01 } counter drop');
    expect(text()).toContain('10.0.0.5 : goto in_00000000_0000_4000_8000_000000000001');
  });
  it('leaves a port without port security alone', () => {
    expect(text({ portSecurity: false })).not.toContain('iifname "tap1"');
  });
  it('has one set of rules for a port with two devices, whose guest is on its way between two agents', () => {
    const both = ['tap1', 'tap2'].map((tap) => ({ plug: plug(), tap }));
    const filter = networkFilter(plan, both, '100.64.0.1', members);
    expect(filter.match(/chain from_/g)).toHaveLength(1);
    for (const tap of ['tap1', 'tap2']) expect(filter).toContain(`iifname "${tap}" jump from_`);
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
    expect(text({ rules })).toContain('meta protocol ip ip saddr 192.0.2.0/24 meta l4proto 6 th dport 80-90 return');
    expect(text({ rules })).toContain('meta protocol ip meta l4proto 1 icmp type 8 icmp code 0 return');
    expect(text({ rules }).match(/^meta protocol .* return$/gm)).toHaveLength(2);
  });
  it('keeps the members of a group in sets that rules of both tables name', () => {
    const rules = [rule({ remotePrefixes: [], remoteGroup: group })];
    const name = 'group4_00000000_0000_4000_8000_00000000000a';
    expect(text({ rules }).split(`set ${name} {\ntype ipv4_addr\nelements = { 10.0.0.7 }\n}`)).toHaveLength(3);
    expect(text({ rules })).toContain(`meta protocol ip ip saddr @${name} return`);
    expect(text({ rules })).toContain(`meta protocol ip ip saddr @${name} accept`);
    expect(text()).not.toContain('set group4');
  });
  it('puts a shared address under the rules of its port', () => {
    const pairs = { allowedPairs: [{ mac: 'fa:16:3e:00:00:01', address: '10.0.0.99' }] };
    expect(text(pairs)).toContain('ip saddr 10.0.0.99 jump out_00000000_0000_4000_8000_000000000001');
  });
  it('gives an address that was left behind to the port that has it now', () => {
    const [older, newer] = [plug(), { ...plug(), portId: '00000000-0000-4000-8000-000000000002' } as PortPlug];
    const ports = [older, newer].map((one, i) => ({ plug: one, tap: `tap${i}` }));
    const elements = networkFilter(plan, ports, '100.64.0.1', members).match(/10\.0\.0\.5 : goto in_\w+/g);
    expect(elements).toEqual([`10.0.0.5 : goto in_${newer.portId.replaceAll('-', '_')}`]);
  });
  it('takes no text that is not what it should be', () => {
    const hostile = '10.0.0.1; flush ruleset';
    expect(() => text({ fixedIps: [{ address: hostile }] })).toThrow('not a address');
    expect(() => text({ mac: 'fa:16:3e:00:00:01 }' })).toThrow('not a MAC');
    expect(() => text({ portId: '../x' })).toThrow('not a UUID');
  });
});

describe('DHCP options of a port', () => {
  const hosts = (over: object) => dnsmasqHosts(plan, [plug(over)]);
  const of = (...dhcpOptions: object[]) => plug({ dhcpOptions, hostname: 'x' });
  const { portId } = plug();
  const v4 = (name: string, value: string) => ({ name, value, version: 4 });

  it('are told to it alone, by name or number', () => {
    const port = of(v4('bootfile-name', 'a,b'), v4('66', '10.0.0.9'), v4('router', ''), {
      ...v4('23', '::1'),
      version: 6,
    });
    expect(dnsmasqOptions([port, plug()])).toBe(
      [
        `tag:${portId},66,10.0.0.9`,
        `tag:${portId},option6:23,::1`,
        `tag:${portId},option:bootfile-name,a,b`,
        `tag:${portId},option:router`,
        '',
      ].join('\n'),
    );
    expect(hosts(port)).toBe(`fa:16:3e:00:00:01,10.0.0.5,set:${portId},x\n`);
    expect(hosts({ ...port, dhcpOptions: [{ ...v4('23', '::1'), version: 6 }] })).not.toContain('set:');
  });
  it('bring no line of their own, and nothing that is no option', () => {
    expect(() => dnsmasqOptions([of(v4('bootfile-name', 'x\ndhcp-script=/bin/sh'))])).toThrow('not a line');
    for (const name of ['', 'tag:x', 'a,b', 'option:x', '-'])
      expect([dnsmasqOptions([of(v4(name, 'x'))]), hosts(of(v4(name, 'x')))]).toEqual([
        '',
        'fa:16:3e:00:00:01,10.0.0.5,x\n',
      ]);
  });
  it('do not make an address change hands', () =>
    expect(addressesChangedHands(hosts({ hostname: 'x' }), hosts(of(v4('66', 'y'))))).toBe(false));
});

describe('IPv6', () => {
  const subnet = (ra: string | null, mode: string | null, over: object = {}) => ({
    version: 6,
    cidr: 'fd00::/64',
    gateway: 'fd00::1',
    serviceAddress: 'fd00::1',
    dhcp: true,
    dnsNameservers: [],
    hostRoutes: [],
    ipv6RaMode: ra,
    ipv6AddressMode: mode,
    ...over,
  });
  const port = plug({ fixedIps: [{ address: 'fd00::5' }], hostname: 'x' });
  const network = (six: object) => ({ networkId: plug().portId, mtu: 1400, subnets: [six] }) as unknown as NetworkPlan;
  const served = (six: object) =>
    dnsmasqConfiguration(
      network(six),
      { hosts: 'h', options: 'o', pid: 'p', leases: 'l' },
      { user: 'nobody', resolvers: [] },
    );
  const ranges = (six: object) => served(six).match(/^(dhcp-range|enable-ra|dhcp-option=tag).*$/gm) ?? [];

  it.each([
    ['slaac', 'slaac', ['dhcp-range=set:subnet0,fd00::,ra-only,64,86400s'], ''],
    ['slaac', null, ['dhcp-range=set:subnet0,fd00::,ra-only,64,86400s'], ''],
    ['dhcpv6-stateless', 'dhcpv6-stateless', ['dhcp-range=set:subnet0,fd00::,ra-stateless,64,86400s'], ''],
    [
      'dhcpv6-stateful',
      'dhcpv6-stateful',
      ['dhcp-range=set:subnet0,fd00::,static,64,86400s', 'enable-ra'],
      'fa:16:3e:00:00:01,[fd00::5],x\n',
    ],
    [null, 'dhcpv6-stateful', ['dhcp-range=set:subnet0,fd00::,static,64,86400s'], 'fa:16:3e:00:00:01,[fd00::5],x\n'],
    [null, null, ['dhcp-range=set:subnet0,fd00::,static,64,86400s'], 'fa:16:3e:00:00:01,[fd00::5],x\n'],
    [null, 'slaac', [], ''],
  ])('is advertised as %s and addressed by %s', (ra, mode, lines, leases) => {
    expect(ranges(subnet(ra, mode))).toEqual(lines);
    expect(dnsmasqHosts(network(subnet(ra, mode)), [port])).toBe(leases);
  });
  it('names its own name servers', () =>
    expect(ranges(subnet('slaac', 'slaac', { dnsNameservers: ['10.0.0.53', '2001:db8::53'] }))).toContain(
      'dhcp-option=tag:subnet0,option6:dns-server,[2001:db8::53]',
    ));
  it('is served by nobody where DHCP is off', () => expect(ranges(subnet(null, null, { dhcp: false }))).toEqual([]));
  it('OSSA-2021-001 answers for its own addresses only, single ones and prefixes', () => {
    const six = { fixedIps: [{ address: 'fd00::5' }], allowedPairs: [{ mac: plug().mac, address: 'fd01::/20' }] };
    const chain = text(six).match(/chain about_[^}]*}/)?.[0];
    expect(chain).toContain('@th,64,128 0xfd000000000000000000000000000005 return');
    expect(chain).toContain(`@th,64,128 & 0xfffff${'0'.repeat(27)} == 0xfd010${'0'.repeat(27)} return`);
    expect(chain).toContain('@th,64,128 0xfe80000000000000f8163efffe000001 return');
    expect(chain).toMatch(/return\ncounter drop\n}$/);
  });
});

describe('DHCP', () => {
  it('gives no name that is no host name', () => {
    expect(dnsmasqHosts(plan, [plug({ hostname: 'a,b\nset' })])).toBe('fa:16:3e:00:00:01,10.0.0.5\n');
  });
  it('notices an address that passed to another MAC', () => {
    expect(addressesChangedHands('m1,10.0.0.5,a\n', 'm2,10.0.0.5,b\n')).toBe(true);
    expect(addressesChangedHands('m1,10.0.0.5,a\n', 'm1,10.0.0.5,a\nm2,10.0.0.6,b\n')).toBe(false);
  });
  it('asks only resolvers that a network can reach', () => {
    expect(reachableResolvers('nameserver 127.0.0.53\nnameserver 192.0.2.1\n')).toEqual(['192.0.2.1']);
  });
});
