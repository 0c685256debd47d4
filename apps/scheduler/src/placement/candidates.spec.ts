import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CandidatesRequest, findCandidates } from './candidates.js';
import type { PlacementProvider } from './providers.js';
import type { ProviderWish } from './query.js';

const provider = (id: string, vcpus: number, change: Partial<PlacementProvider> = {}): PlacementProvider => ({
  id,
  name: id,
  generation: 0,
  parentId: null,
  rootId: id,
  inventories: vcpus === 0 ? {} : { VCPU: inventory(vcpus) },
  traits: [],
  aggregates: [],
  used: {},
  updatedAt: '',
  isHost: false,
  ...change,
});
const inventory = (total: number) => ({
  total,
  reserved: 0,
  minUnit: 1,
  maxUnit: total,
  stepSize: 1,
  allocationRatio: 1,
});
const wish = (resources: Record<string, number>, change: Partial<ProviderWish> = {}): ProviderWish => ({
  resources,
  required: [],
  forbidden: [],
  memberOf: [],
  notMemberOf: [],
  inTree: null,
  ...change,
});
const ask = (
  providers: readonly PlacementProvider[],
  groups: Record<string, ProviderWish>,
  change: Partial<CandidatesRequest> = {},
) =>
  findCandidates(new Map(providers.map((p) => [p.id, p])), {
    groups: Object.entries(groups).map(([suffix, w]) => ({ suffix, wish: w })),
    isolate: false,
    root: { required: [], forbidden: [] },
    subtrees: [],
    nested: true,
    limit: 100,
    ...change,
  }).map(({ resources, mappings }) => ({
    resources: Object.fromEntries([...resources].map(([p, amounts]) => [p.id, amounts])),
    mappings,
  }));

/** A host of two NUMA nodes, one with a fast card; and storage that it shares. */
const node = (id: string, change: Partial<PlacementProvider> = {}) =>
  provider(id, 4, { parentId: 'host', rootId: 'host', ...change });
const cloud = [
  provider('host', 0, { traits: ['CUSTOM_HOST'], aggregates: ['rack'], inventories: { MEMORY_MB: inventory(64) } }),
  node('n1'),
  node('n2', { traits: ['CUSTOM_NEAR'] }),
  provider('card', 0, { parentId: 'n2', rootId: 'host', inventories: { FPGA: inventory(1) }, traits: ['CUSTOM_FAST'] }),
  provider('store', 0, {
    inventories: { DISK_GB: inventory(10) },
    aggregates: ['rack'],
    traits: ['MISC_SHARES_VIA_AGGREGATE'],
  }),
];

describe('allocation candidates', () => {
  it('spread the group without a suffix over a tree and what shares with it', () => {
    const found = ask(cloud, { '': wish({ VCPU: 1, MEMORY_MB: 1, DISK_GB: 1 }) });
    expect(found.map((f) => f.resources)).toEqual([
      { n1: { VCPU: 1 }, host: { MEMORY_MB: 1 }, store: { DISK_GB: 1 } },
      { n2: { VCPU: 1 }, host: { MEMORY_MB: 1 }, store: { DISK_GB: 1 } },
    ]);
  });
  it('keep a group with a suffix together', () => {
    expect(ask(cloud, { 1: wish({ VCPU: 1, MEMORY_MB: 1 }) })).toEqual([]);
    expect(ask(cloud, { 1: wish({ VCPU: 5 }) })).toEqual([]);
    expect(ask(cloud, { 1: wish({ VCPU: 1 }, { required: [['CUSTOM_NEAR', 'CUSTOM_X']] }) })).toMatchObject([
      { mappings: { 1: ['n2'] } },
    ]);
    expect(ask(cloud, { 1: wish({ VCPU: 1 }, { forbidden: ['CUSTOM_NEAR'] }) })).toMatchObject([
      { mappings: { 1: ['n1'] } },
    ]);
  });
  it('add up what several groups take of one provider, or keep them apart', () => {
    const two = { 1: wish({ VCPU: 3 }), 2: wish({ VCPU: 1 }) };
    expect(ask(cloud, two)).toHaveLength(4);
    expect(ask(cloud, two, { isolate: true })).toHaveLength(2);
    expect(ask(cloud, { 1: wish({ VCPU: 3 }), 2: wish({ VCPU: 3 }) })).toHaveLength(2);
  });
  it('keep groups below one of them', () => {
    const groups = { _a: wish({ VCPU: 1 }), _b: wish({ FPGA: 1 }) };
    expect(ask(cloud, groups)).toHaveLength(2);
    expect(ask(cloud, groups, { subtrees: [['_a', '_b']] })).toMatchObject([
      { mappings: { _a: ['n2'], _b: ['card'] } },
    ]);
  });
  it('look at a root for its traits, and at a root for its aggregates too', () => {
    const group = { '': wish({ VCPU: 1 }, { memberOf: [['rack']] }) };
    expect(ask(cloud, group, { root: { required: [['CUSTOM_HOST']], forbidden: [] } })).toHaveLength(2);
    expect(ask(cloud, group, { root: { required: [], forbidden: ['CUSTOM_HOST'] } })).toEqual([]);
    expect(ask(cloud, { '': wish({ VCPU: 1 }, { notMemberOf: ['rack'] }) })).toEqual([]);
  });
  it('stay within the tree that is named', () => {
    const all = [...cloud, provider('other', 4)];
    expect(ask(all, { '': wish({ VCPU: 1 }) })).toHaveLength(3);
    expect(ask(all, { '': wish({ VCPU: 1 }, { inTree: 'card' }) })).toHaveLength(2);
    expect(ask(all, { '': wish({ VCPU: 1 }, { inTree: 'nowhere' }) })).toEqual([]);
  });
  it('hide trees from clients that do not know them, and end at the limit', () => {
    expect(ask(cloud, { '': wish({ VCPU: 1, MEMORY_MB: 1 }) }, { nested: false })).toEqual([]);
    expect(ask(cloud, { '': wish({ VCPU: 1 }) }, { nested: false })).toHaveLength(2);
    expect(ask(cloud, { '': wish({ VCPU: 1 }) }, { limit: 1 })).toHaveLength(1);
  });

  it('are of a provider without others as of one that has some with nothing to give', () => {
    const traits = fc.subarray(['CUSTOM_A', 'CUSTOM_B']);
    const hosts = fc.array(fc.tuple(fc.nat(4), traits, fc.subarray(['x', 'y'])), { maxLength: 5 });
    const group = fc.record({
      vcpus: fc.nat(4),
      required: traits,
      forbidden: fc.subarray(['CUSTOM_A']),
      memberOf: fc.subarray(['x']),
    });
    const options = fc.record({ isolate: fc.boolean(), nested: fc.boolean(), limit: fc.integer({ min: 1, max: 3 }) });
    fc.assert(
      fc.property(hosts, fc.array(group, { minLength: 1, maxLength: 3 }), options, (some, wanted, change) => {
        const alone = some.map(([vcpus, own, aggregates], i) => provider(`h${i}`, vcpus, { traits: own, aggregates }));
        const tree = alone.flatMap((p) => [p, provider(`${p.id}-child`, 0, { parentId: p.id, rootId: p.id })]);
        const groups = Object.fromEntries(
          wanted.map(({ vcpus, required, forbidden, memberOf }, i) => {
            const more = { required: required.map((t) => [t]), forbidden, memberOf: memberOf.map((a) => [a]) };
            // A group with nothing to ask for may be granted by a child.
            const amount = i === 0 ? vcpus : Math.max(1, vcpus);
            return [i === 0 ? '' : `${i}`, wish(amount === 0 ? {} : { VCPU: amount }, more)];
          }),
        );
        fc.pre(wanted.length > 1 || wanted[0]!.vcpus > 0); // else the request is refused
        expect(ask(alone, groups, change)).toEqual(ask(tree, groups, change));
      }),
    );
  });
});
