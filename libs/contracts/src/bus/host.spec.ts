import { describe, expect, it } from 'vitest';
import { HostFact } from './host.js';

describe('why a host did not do something', () => {
  const portId = '0d5b5a5e-6f0c-4b32-9f0b-0d7a0c4f7a11';
  it.each([
    { kind: 'spawnFailed' },
    { kind: 'operationFailed', generation: 1, operation: 'snapshot', unsupported: true, power: null },
    { kind: 'interfaceFailed', portId, change: 'attach', unsupported: true },
  ])('is cut short, for users read it: $kind', (fact) => {
    const sentence = 'The hypervisor cannot do it: this host cannot serve hw_watchdog_action=reset.';
    expect(HostFact.parse({ ...fact, reason: sentence })).toEqual({ ...fact, reason: sentence });
    expect(HostFact.parse({ ...fact, reason: 'x'.repeat(1_000_000) })).toEqual({ ...fact, reason: 'x'.repeat(500) });
  });
});
