import type { HostFacts } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { migrationAddressOf } from './host-addresses.js';

const host = (id: string, machineId: string, facts: Partial<HostFacts>) => ({
  id,
  facts: { hostIp: `10.0.0.${id}`, machineId, ...facts } as HostFacts,
});

describe('where a host takes running guests', () => {
  it('is where it says', () =>
    expect(migrationAddressOf([host('1', 'm', { migrationAddress: '10.1.0.1' }), host('2', 'n', {})], '1')).toBe(
      '10.1.0.1',
    ));
  it('is nowhere when it says nothing, or is not there', () => {
    expect(migrationAddressOf([host('1', 'm', {})], '1')).toBeUndefined();
    expect(migrationAddressOf([], '1')).toBeUndefined();
  });
  it.each([{ migrationAddress: '10.1.0.1' }, { hostIp: '10.1.0.1' }])(
    "is nobody's when another machine has it",
    (other) => {
      const hosts = [host('1', 'm', { migrationAddress: '10.1.0.1' }), host('2', 'n', other)];
      expect(migrationAddressOf(hosts, '1')).toBeUndefined();
    },
  );
  it('may be the same for agents of one machine', () => {
    const facts = { migrationAddress: '10.1.0.1' };
    expect(migrationAddressOf([host('1', 'm', facts), host('2', 'm', facts)], '2')).toBe('10.1.0.1');
  });
});
