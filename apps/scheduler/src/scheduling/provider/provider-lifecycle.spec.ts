import type { Inventory, ProviderEvent } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { type ProviderCommand, providerAggregate } from './provider-lifecycle.js';

const providerId = 'p' as never;
const inventory = (total: number, change: Partial<Inventory> = {}): Inventory => ({
  total,
  reserved: 0,
  minUnit: 1,
  maxUnit: total,
  stepSize: 1,
  allocationRatio: 1,
  ...change,
});
const created: ProviderEvent = { type: 'ProviderCreated', data: { providerId, name: 'n', hostId: 'h' as never } };
const offers = (inventories: Record<string, Inventory>): ProviderEvent => ({
  type: 'ProviderInventorySet',
  data: { providerId, inventories },
});
const claim = (server: string, resources: Record<string, number>): Extract<ProviderCommand, { type: 'claim' }> => ({
  type: 'claim',
  providerId,
  claim: { serverId: server as never, attempt: 1, projectId: 'p' as never, userId: 'u' as never, resources },
  explanation: {} as never,
});
const claimed = (server: string, resources: Record<string, number>): ProviderEvent => ({
  type: 'AllocationClaimed',
  data: { providerId, ...claim(server, resources).claim, explanation: {} as never },
});
const given = (...events: ProviderEvent[]) => ({
  when: (command: ProviderCommand) =>
    providerAggregate.decide(command, events.reduce(providerAggregate.evolve, providerAggregate.initial)),
});

describe('claiming of a provider', () => {
  const offer = offers({ VCPU: inventory(4, { allocationRatio: 2, reserved: 1 }) });
  it('takes what there is, ratio and reservation counted', () => {
    expect(given(created, offer, claimed('a', { VCPU: 2 })).when(claim('b', { VCPU: 4 }))).toHaveLength(1);
  });
  it('is refused beyond it, with the numbers', () => {
    const decide = () => given(created, offer, claimed('a', { VCPU: 3 })).when(claim('b', { VCPU: 4 }));
    expect(decide).toThrow('VCPU 4 wanted, 3 left');
  });
  it('happens once for one attempt', () => {
    expect(given(created, offer, claimed('a', { VCPU: 4 })).when(claim('a', { VCPU: 4 }))).toEqual([]);
  });
  it('has room again after a release', () => {
    const released: ProviderEvent = {
      type: 'AllocationReleased',
      data: { providerId, serverId: 'a' as never, attempt: 1, reason: 'absent' },
    };
    const log = [created, offer, claimed('a', { VCPU: 4 }), released, released] as const;
    expect(given(...log).when(claim('b', { VCPU: 4 }))).toHaveLength(1);
  });
  it.each([
    ['more than one may have', { maxUnit: 2 }, 3, 'VCPU max_unit'],
    ['less than one may have', { minUnit: 2 }, 1, 'VCPU min_unit'],
    ['between two steps', { stepSize: 2 }, 3, 'VCPU step_size'],
  ])('is refused for %s', (_, change, amount, constraint) => {
    const decide = () => given(created, offers({ VCPU: inventory(8, change) })).when(claim('a', { VCPU: amount }));
    expect(decide).toThrow(constraint);
  });
  it('is refused for a resource that is not offered', () => {
    expect(() => given(created, offer).when(claim('a', { CUSTOM_GPU: 1 }))).toThrow('CUSTOM_GPU 1 wanted, 0 left');
  });
});

describe('a provider', () => {
  it('says nothing when nothing changes', () => {
    const before = given(created, offers({ VCPU: inventory(4) }));
    expect(before.when({ type: 'setInventory', providerId, inventories: { VCPU: inventory(4) } })).toEqual([]);
    const turned = Object.fromEntries(Object.entries(inventory(4)).reverse()) as unknown as Inventory;
    expect(before.when({ type: 'setInventory', providerId, inventories: { VCPU: turned } })).toEqual([]);
    expect(before.when({ type: 'create', providerId, name: 'other', hostId: 'h' as never })).toEqual([]);
    expect(before.when({ type: 'release', providerId, serverId: 'x' as never, attempt: 1, reason: 'absent' })).toEqual(
      [],
    );
  });
  it('stays while something is claimed of it', () => {
    expect(() => given(created, claimed('a', { VCPU: 1 })).when({ type: 'remove', providerId })).toThrow('has claims');
  });
});
