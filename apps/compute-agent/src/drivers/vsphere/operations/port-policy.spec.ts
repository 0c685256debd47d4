import { describe, expect, it } from 'vitest';
import type { PortGuard } from '../../hypervisor-driver.js';
import { keepsToMac, needsMacPolicy } from './port-policy.js';

const mac = 'fa:16:3e:00:00:01';
const all = (['IPv4', 'IPv6'] as const).flatMap((ethertype) =>
  (['ingress', 'egress'] as const).map((direction) => ({
    ...{ ethertype, direction, protocol: null, portMin: null, portMax: null },
    remotePrefixes: [ethertype === 'IPv4' ? '0.0.0.0/0' : '::/0'],
  })),
);
const anyAddress = [
  { mac, ip: '0.0.0.0/0' },
  { mac: mac.toUpperCase(), ip: '::/0' },
];
const needs = (change: Partial<PortGuard>) =>
  needsMacPolicy({ mac, guard: { addresses: anyAddress, rules: all, ...change } });

describe('the guard of a port', () => {
  it('is a port group that keeps guests to their MAC, when nothing else is asked for', () => {
    expect([needs({}), needsMacPolicy({ mac, guard: null })]).toEqual([true, false]);
  });

  it('is refused when it asks for what no port group knows', () => {
    for (const change of [
      { addresses: [{ mac, ip: '10.0.0.5' }] },
      { addresses: [...anyAddress, { mac: 'fa:16:3e:00:00:02', ip: '0.0.0.0/0' }] },
      { rules: [] },
      { rules: all.slice(1) },
      { rules: all.map((rule) => ({ ...rule, protocol: 'tcp' })) },
      { rules: all.map((rule) => ({ ...rule, remotePrefixes: ['10.0.0.0/8'] })) },
    ] as Partial<PortGuard>[])
      expect(() => needs(change)).toThrow('cannot enforce');
  });
});

describe('a port group', () => {
  const standard = { allowPromiscuous: 'false', macChanges: 'false', forgedTransmits: 'false' };
  const distributed = Object.fromEntries(
    Object.keys(standard).map((name) => [name, { inherited: false, value: 'false' }]),
  );

  it('keeps guests to their MAC when all three of its policies say so', () => {
    for (const policy of [standard, distributed]) {
      expect(keepsToMac(policy)).toBe(true);
      for (const name of Object.keys(policy))
        expect([name, keepsToMac({ ...policy, [name]: 'true' })]).toEqual([name, false]);
    }
  });

  it('is not trusted when it does not say', () => {
    expect([keepsToMac(undefined), keepsToMac({}), keepsToMac({ macChanges: 'false' })]).toEqual([false, false, false]);
  });
});
