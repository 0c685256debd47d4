import { describe, expect, it } from 'vitest';
import type { PortGuard } from '../hypervisor-driver.js';
import { aclsFor } from './acls.js';

const mac = 'fa:16:3e:00:00:01';
const own = [{ mac, ip: '10.0.0.5' }];
const rule = (change: Partial<PortGuard['rules'][number]> = {}): PortGuard['rules'][number] => ({
  direction: 'ingress',
  ethertype: 'IPv4',
  protocol: 'tcp',
  portMin: 22,
  portMax: 22,
  remotePrefixes: ['0.0.0.0/0'],
  ...change,
});
const acls = (rules: PortGuard['rules'], addresses: PortGuard['addresses'] = own) =>
  aclsFor({ mac }, { addresses, rules });
/** What is allowed beside DHCP. */
const allowed = (...rules: PortGuard['rules']) =>
  acls(rules).filter((a) => a.Action === 'Allow' && a.LocalPort !== '68');

describe('extended ACLs of a port', () => {
  it('deny everything but DHCP without a rule, with the lowest weight', () => {
    expect(acls([]).map((a) => [a.Action, a.Direction, a.RemotePort ?? '', a.Weight])).toEqual([
      ['Allow', 'Outbound', '67', 65500],
      ['Allow', 'Inbound', '67', 65499],
      ['Deny', 'Inbound', '', 1],
      ['Deny', 'Outbound', '', 1],
    ]);
  });

  it('let in what a rule lets in, and its answers out', () => {
    expect(allowed(rule())).toEqual([
      {
        Direction: 'Inbound',
        Action: 'Allow',
        Protocol: 'TCP',
        LocalPort: '22',
        RemoteIPAddress: '0.0.0.0/0',
        Stateful: true,
        Weight: 65498,
      },
    ]);
    expect(allowed(rule({ portMin: 80, portMax: 90, protocol: '17' }))).toMatchObject([
      { Protocol: 'UDP', LocalPort: '80-90' },
    ]);
  });

  it('let out from the own address only', () => {
    expect(allowed(rule({ direction: 'egress', protocol: 'udp', portMin: 53, portMax: 53 }))).toMatchObject([
      { Direction: 'Outbound', LocalIPAddress: '10.0.0.5', RemotePort: '53' },
    ]);
  });

  it('name each protocol of a rule for all of them, so that there is state', () => {
    expect(
      allowed(rule({ direction: 'egress', protocol: null, portMin: null, portMax: null })).map((a) => [
        a.Protocol,
        a.Stateful,
      ]),
    ).toEqual([
      ['TCP', true],
      ['UDP', true],
      ['1', false],
    ]);
  });

  it('have nothing for a group without members, nor for IPv6', () => {
    expect(allowed(rule({ remotePrefixes: [] }), rule({ ethertype: 'IPv6', remotePrefixes: ['::/0'] }))).toEqual([]);
  });

  it('have one for each remote, and none twice', () => {
    const two = rule({ remotePrefixes: ['10.1.0.0/16', '10.2.0.0/16'] });
    expect(allowed(two, two)).toHaveLength(2);
    expect(new Set(acls([two]).map((a) => `${a.Direction} ${a.Weight}`)).size).toBe(acls([two]).length);
  });

  it.each([
    ['another MAC address', [], [...own, { mac: 'fa:16:3e:00:00:02', ip: '10.0.0.9' }]],
    ['an IPv6 address', [], [...own, { mac, ip: 'fd00::5' }]],
    ['types of ICMP', [rule({ protocol: 'icmp', portMin: 8, portMax: 0 })], own],
    ['a protocol it has no number of', [rule({ protocol: 'vrrp', portMin: null, portMax: null })], own],
  ] as const)('are refused where they would let through more than asked: %s', (_, rules, addresses) => {
    expect(() => acls([...rules], [...addresses])).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });
});
