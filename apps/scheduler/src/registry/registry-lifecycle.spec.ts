import type { Inventory, ResourceRegistryEvent } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import {
  type RegistryChange,
  registryAggregate,
  type Surroundings,
  type WantedAllocations,
} from './registry-lifecycle.js';

const around: Surroundings = {
  hosts: new Map([['host', 'host.example']]),
  standardTraits: new Set(['HW_CPU_X86_AVX']),
  standardClasses: new Set(['VCPU', 'DISK_GB']),
  hostTraits: new Set(['CUSTOM_HOST']),
  servers: new Set(['server']),
};
const given = (...events: ResourceRegistryEvent[]) => {
  const state = events.reduce(registryAggregate.evolve, registryAggregate.initial);
  return {
    state,
    when: (change: RegistryChange) => {
      const decided = registryAggregate.decide({ ...change, around }, state);
      return { events: decided, state: decided.reduce(registryAggregate.evolve, state) };
    },
  };
};

const of = (total: number, change: Partial<Inventory> = {}): Inventory => ({
  total,
  reserved: 0,
  minUnit: 1,
  maxUnit: total,
  stepSize: 1,
  allocationRatio: 1,
  ...change,
});
const registered = (id: string, parentId: string | null = null): ResourceRegistryEvent => ({
  type: 'ResourceProviderRegistered',
  data: { providerId: id as never, name: id, parentId: parentId as never },
});
const offers = (id: string, inventories: Record<string, Inventory>): ResourceRegistryEvent => ({
  type: 'ResourceInventorySet',
  data: { providerId: id as never, inventories },
});
const takes = (
  id: string,
  allocations: WantedAllocations['allocations'],
  change: Partial<WantedAllocations> = {},
): WantedAllocations => ({
  consumerId: id,
  projectId: 'p',
  userId: 'u',
  consumerType: null,
  generation: null,
  allocations,
  ...change,
});
const took = (id: string, allocations: WantedAllocations['allocations']): ResourceRegistryEvent => {
  const { generation: _, ...data } = takes(id, allocations);
  return { type: 'ConsumerAllocationsSet', data: { ...data, allocations: { ...allocations } } };
};
const allocate = (...wanted: WantedAllocations[]): RegistryChange => ({ type: 'allocate', wanted });
const set = (id: string, inventories: Record<string, Inventory>, generation?: number): RegistryChange => ({
  type: 'setInventories',
  providerId: id,
  generation,
  inventories,
  mayBeEmpty: true,
  verb: 'update',
});

describe('traits and classes', () => {
  it('are made once', () => {
    const { when } = given({ type: 'TraitRegistered', data: { name: 'CUSTOM_A' } });
    expect(when({ type: 'registerTrait', name: 'CUSTOM_A' }).events).toEqual([]);
    expect(when({ type: 'registerTrait', name: 'CUSTOM_B' }).events).toHaveLength(1);
  });
  it('stay while somebody has them', () => {
    const { when } = given(
      { type: 'ResourceClassRegistered', data: { name: 'CUSTOM_A' } },
      registered('a'),
      offers('a', { CUSTOM_A: of(1) }),
    );
    expect(() => when({ type: 'unregisterClass', name: 'CUSTOM_A' })).toThrow(/Class is in use in inventory/);
    expect(() => when({ type: 'unregisterTrait', name: 'CUSTOM_HOST' })).toThrow(/in use by a resource provider/);
    expect(() => when({ type: 'unregisterTrait', name: 'HW_CPU_X86_AVX' })).toThrow(/Cannot delete standard trait/);
  });
  it('change their name wherever they are', () => {
    const { when } = given(
      { type: 'ResourceClassRegistered', data: { name: 'CUSTOM_A' } },
      registered('a'),
      offers('a', { CUSTOM_A: of(4) }),
      took('c', { a: { CUSTOM_A: 2 } }),
    );
    const { state } = when({ type: 'renameClass', name: 'CUSTOM_A', to: 'CUSTOM_B' });
    expect(state.providers.get('a')).toMatchObject({ inventories: { CUSTOM_B: { total: 4 } }, used: { CUSTOM_B: 2 } });
    expect(state.consumers.get('c')!.allocations).toEqual({ a: { CUSTOM_B: 2 } });
  });
});

describe('a provider', () => {
  const register = (id: string, name = id, parentId: string | null = null): RegistryChange => ({
    type: 'registerProvider',
    id,
    name,
    parentId,
  });
  const change = (id: string, parentId: string | null, moves: boolean): RegistryChange => ({
    type: 'changeProvider',
    id,
    name: id,
    parentId,
    moves,
  });
  it('has a name and id of its own, hosts counted', () => {
    const { when } = given(registered('a'));
    for (const wish of [register('a'), register('b', 'a'), register('host', 'b'), register('b', 'host.example')])
      expect(() => when(wish)).toThrow(/already exists/);
    expect(when(register('b', 'b', 'host')).events).toHaveLength(1);
  });
  it('moves to another parent only when the client knows that it can, and never below itself', () => {
    const { when } = given(registered('a'), registered('b', 'a'), registered('c', 'b'));
    expect(() => when(change('b', 'c', true))).toThrow(/creating loop/);
    expect(() => when(change('c', 'a', false))).toThrow(/re-parenting/);
    expect(() => when(change('c', null, false))).toThrow(/un-parenting/);
    expect(when(change('c', 'a', true)).state.providers.get('c')).toMatchObject({ parentId: 'a', generation: 0 });
    expect(when(change('a', 'host', false)).events).toHaveLength(1);
  });
  it('cannot go from under its children or consumers', () => {
    const { when } = given(
      registered('a'),
      registered('b', 'a'),
      offers('b', { VCPU: of(1) }),
      took('c', { b: { VCPU: 1 } }),
    );
    expect(() => when({ type: 'unregisterProvider', id: 'a' })).toThrow(/child resource providers/);
    expect(() => when({ type: 'unregisterProvider', id: 'b' })).toThrow(/has allocations/);
  });
  it('counts its changes, and refuses one that builds on another state', () => {
    const { when, state } = given(registered('a'), offers('a', { VCPU: of(4) }), took('c', { a: { VCPU: 1 } }));
    expect(state.providers.get('a')!.generation).toBe(2);
    expect(() => when(set('a', {}, 1))).toThrow(
      expect.objectContaining({ details: { code: 'placement.concurrent_update' } }),
    );
    expect(when(set('a', { VCPU: of(9) }, 2)).state.providers.get('a')!.generation).toBe(3);
  });
  it('keeps what is consumed of it', () => {
    const { when } = given(registered('a'), offers('a', { VCPU: of(4) }), took('c', { a: { VCPU: 1 } }));
    expect(() => when(set('a', { DISK_GB: of(4) }))).toThrow(/Inventory for 'VCPU' on resource provider 'a' in use/);
  });
  it('may reserve all of something only for clients that know it can be so', () => {
    const { when } = given(registered('a'));
    const all = set('a', { VCPU: of(4, { reserved: 4 }) });
    expect(when(all).events).toHaveLength(1);
    expect(() => when({ ...all, mayBeEmpty: false } as RegistryChange)).toThrow(/greater than or equal to total/);
  });
});

describe('allocating', () => {
  const ready = () => given(registered('a'), offers('a', { VCPU: of(4, { stepSize: 2 }) }));
  it('replaces what the consumer had', () => {
    const { when } = given(registered('a'), offers('a', { VCPU: of(4) }), took('c', { a: { VCPU: 4 } }));
    const { state } = when(allocate(takes('c', { a: { VCPU: 3 } }, { generation: 1 })));
    expect(state.providers.get('a')!.used).toEqual({ VCPU: 3 });
    expect(state.consumers.get('c')!.generation).toBe(2);
  });
  it('is all or nothing, and cannot exceed what is there', () => {
    const { when } = ready();
    const both = allocate(takes('c', { a: { VCPU: 2 } }), takes('d', { a: { VCPU: 4 } }));
    expect(() => when(both)).toThrow(/would exceed the capacity/);
    expect(() => when(allocate(takes('c', { a: { VCPU: 3 } })))).toThrow(/violate inventory constraints/);
    expect(() => when(allocate(takes('c', { a: { DISK_GB: 1 } })))).toThrow(/Inventory for 'DISK_GB'/);
    expect(() => when(allocate(takes('c', { x: { VCPU: 2 } })))).toThrow(/that does not exist/);
  });
  it('asks for the state that the client knows of the consumer', () => {
    const { when } = ready();
    expect(() => when(allocate(takes('c', { a: { VCPU: 2 } }, { generation: 1 })))).toThrow(/expected null but got 1/);
    expect(when(allocate(takes('c', { a: { VCPU: 2 } }, { generation: undefined }))).events).toHaveLength(1);
  });
  it('leaves hosts and servers to the scheduler', () => {
    const { when } = ready();
    expect(() => when(allocate(takes('c', { host: { VCPU: 2 } })))).toThrow(/is a compute host/);
    expect(() => when(allocate(takes('server', { a: { VCPU: 2 } })))).toThrow(/is a server/);
    expect(() => when({ type: 'deleteAllocations', consumerId: 'server' })).toThrow(/is a server/);
  });
  it('of nothing ends the consumer', () => {
    const { when } = given(registered('a'), offers('a', { VCPU: of(4) }), took('c', { a: { VCPU: 4 } }));
    const { state } = when(allocate(takes('c', {}, { generation: 1 })));
    expect(state.consumers.size).toBe(0);
    expect(state.providers.get('a')!.used).toEqual({ VCPU: 0 });
  });
});

describe('reshaping', () => {
  const { when } = given(
    registered('a'),
    registered('b', 'a'),
    offers('a', { VCPU: of(4) }),
    took('c', { a: { VCPU: 4 } }),
  );
  const reshape = (wanted: WantedAllocations[]): RegistryChange => ({
    type: 'reshape',
    inventories: [
      { providerId: 'a', generation: 2, inventories: {} },
      { providerId: 'b', generation: 0, inventories: { VCPU: of(4) } },
    ],
    wanted,
  });
  it('moves inventories and what is consumed of them in one step', () => {
    const { state } = when(reshape([takes('c', { b: { VCPU: 4 } }, { generation: 1 })]));
    expect([state.providers.get('a')!.used.VCPU, state.providers.get('b')!.used.VCPU]).toEqual([0, 4]);
  });
  it('leaves nobody behind', () => {
    expect(() => when(reshape([]))).toThrow(/Inventory for 'VCPU' on resource provider 'a' in use/);
  });
});
