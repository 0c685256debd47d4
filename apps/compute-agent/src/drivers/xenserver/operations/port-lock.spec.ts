import { describe, expect, it } from 'vitest';
import { flatNic } from '../../common/test-guest.js';
import { HypervisorError, type PortGuard } from '../../hypervisor-driver.js';
import { lockOf, sameLock } from './port-lock.js';

const mac = 'fa:16:3e:00:00:01';
type Rule = PortGuard['rules'][number];
const open = (direction: Rule['direction'], ethertype: Rule['ethertype'] = 'IPv4'): Rule => ({
  ...{ direction, ethertype, protocol: null, portMin: null, portMax: null },
  remotePrefixes: [ethertype === 'IPv4' ? '0.0.0.0/0' : '::/0'],
});
const both = (ethertype: Rule['ethertype'] = 'IPv4') => [open('ingress', ethertype), open('egress', ethertype)];
const nic = (guard: PortGuard | null) => flatNic(mac, { guard });
const lock = (ips: string[], rules: Rule[], sender = mac) =>
  lockOf(nic({ addresses: ips.map((ip) => ({ mac: sender, ip })), rules }));
const refused = (...args: Parameters<typeof lock>) => {
  try {
    lock(...args);
  } catch (error) {
    return error instanceof HypervisorError ? error.code : error;
  }
  return 'locked';
};

describe('a port', () => {
  it('without port security is open', () => {
    expect(lockOf(nic(null))).toEqual({ locking_mode: 'unlocked', ipv4_allowed: [], ipv6_allowed: [] });
  });

  it('sends from its addresses only, those of allowed pairs among them', () => {
    expect(lock(['10.0.0.5', '10.0.0.6/32', 'fd00::5'], [...both(), ...both('IPv6')])).toEqual({
      locking_mode: 'locked',
      ipv4_allowed: ['10.0.0.5', '10.0.0.6'],
      ipv6_allowed: ['fd00::5'],
    });
  });

  it('without an address sends nothing', () => {
    expect(lock([], [])).toEqual({ locking_mode: 'locked', ipv4_allowed: [], ipv6_allowed: [] });
  });

  it('whose security groups keep anything out is refused: there is nothing to do it', () => {
    const ssh = { ...open('ingress'), protocol: 'tcp', portMin: 22, portMax: 22 };
    const group = { ...open('ingress'), remotePrefixes: ['10.0.0.0/24'] };
    const nobody = { ...open('ingress'), remotePrefixes: [] };
    for (const rules of [
      [],
      [open('egress')],
      [open('egress'), ssh],
      [open('egress'), group],
      [open('egress'), nobody],
    ])
      expect(refused(['10.0.0.5'], rules)).toBe('unsupported');
    expect(refused(['10.0.0.5', 'fd00::5'], both())).toBe('unsupported');
    expect(refused(['10.0.0.5'], both())).toBe('locked');
  });

  it('that may be others than a VIF can be is refused', () => {
    expect(refused(['10.0.0.0/24'], both())).toBe('unsupported');
    expect(refused(['10.0.0.5'], both(), 'fa:16:3e:00:00:02')).toBe('unsupported');
    expect(refused(['10.0.0.5'], both(), mac.toUpperCase())).toBe('locked');
  });

  it('is as it was when its addresses come in another order', () => {
    const [a, b] = [lock(['10.0.0.5', '10.0.0.6'], both()), lock(['10.0.0.6', '10.0.0.5'], both())];
    expect(sameLock(a, b)).toBe(true);
    expect(sameLock(a, lock(['10.0.0.5'], both()))).toBe(false);
  });
});
