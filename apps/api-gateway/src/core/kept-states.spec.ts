import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DomainEvent, personalFieldsOf } from '@omnivisor/contracts';
import type { AnyAggregate } from '@omnivisor/eventsourcing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { quotaAggregate } from '../compute/quota/quota.js';
import { addressPool } from '../network/address-pool/address-pool.js';
import { networkQuota } from '../network/quota/network-quota.js';

const SAMPLES = new URL('../../../../libs/contracts/samples/', import.meta.url);
const ID = /6f70656e-6e65-4bad-8f0d-5c6e3f2a1b07|"(owner|resource)":"\w+"/g;
const POOL = ['a', 'b', 'c'].map((c) => `6f70656e-6e65-4bad-8f0d-5c6e3f2a1b0${c}`);

const samplesOf = ({ events }: AnyAggregate): DomainEvent[] =>
  readFileSync(new URL(`${events.stream}.jsonl`, SAMPLES), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as DomainEvent);

/** An event of a life or a sample, about few things, so that they meet. */
const anEvent = ({ aggregate, life }: Tried) =>
  fc
    .tuple(fc.constantFrom(...life, ...samplesOf(aggregate)), fc.array(fc.nat(2), { minLength: 1 }))
    .map(([sample, ids]) => {
      let n = 0;
      const next = () => POOL[ids[n++ % ids.length]!]!;
      return JSON.parse(
        JSON.stringify(sample).replace(ID, (_, field) => (field ? `"${field}":"${next()}"` : next())),
      ) as DomainEvent;
    });
const fold = ({ evolve }: AnyAggregate, events: readonly DomainEvent[], from: unknown): unknown =>
  events.reduce((state, event) => evolve(state, event), from);

/** What a state is, whatever the order of its maps. */
const plain = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map((item) => JSON.stringify(plain(item))).sort()
    : value && typeof value === 'object'
      ? Object.entries(value)
          .map(([key, item]) => JSON.stringify([key, plain(item)]))
          .sort()
      : value;
const json = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const written = ({ kept }: AnyAggregate, state: unknown): unknown => json(kept!.write(state));

const projectId = 'p';
const [networkId, port, other] = POOL;
const subnetId = networkId;
const inRange = (allocationPools: object[], over: object = {}) => ({
  range: {
    ...{ subnetId, version: 4, cidr: '10.0.0.0/24', gateway: '10.0.0.1', allocationPools },
    ...{ serviceAddress: null, eui64: false, ...over },
  },
});
const events = (common: object, list: readonly (readonly [type: string, data: object])[]): DomainEvent[] =>
  list.map(([type, data]) => ({ type, data: { ...common, ...data } }));
const allocated = (portId: string | undefined, mac: string, ...addresses: string[]) =>
  [
    'AddressesAllocated',
    { portId, projectId, mac, fixedIps: addresses.map((address) => ({ subnetId, address })) },
  ] as const;

/** Events that meet each other in every way that the fold tells apart. */
const QUOTA = events({ projectId }, [
  ['QuotaLimitsSet', { limits: { instances: 10, cores: 20 } }],
  ['QuotaReserved', { owner: 'server:a', amounts: { instances: 1, cores: 2 } }],
  ['QuotaReserved', { owner: 'server:b', amounts: { instances: 1, cores: 4, ram: 512 } }],
  ['QuotaAmended', { owner: 'server:a', amounts: { instances: 1, cores: 8 } }],
  ['QuotaAmended', { owner: 'server:a', amounts: { instances: 1, cores: 6 }, generation: 4 }],
  ['QuotaLimitsSet', { limits: { cores: 30 } }],
  ['QuotaReleased', { owner: 'server:b' }],
  ['QuotaReleased', { owner: 'server:b' }],
  ['QuotaReserved', { owner: 'server:b', amounts: { instances: 1 } }],
  ['QuotaAmended', { owner: 'server:c', amounts: { cores: 1 } }],
  ['QuotaLimitsReset', {}],
  ['QuotaReleased', { owner: 'server:a' }],
]);
const NETWORK_QUOTA = events({ projectId }, [
  ['NetworkQuotaLimitsSet', { limits: { port: 3, network: 1 } }],
  ['NetworkQuotaTaken', { resource: 'port', ids: ['a', 'b'] }],
  ['NetworkQuotaTaken', { resource: 'port', ids: ['b', 'c'] }],
  ['NetworkQuotaTaken', { resource: 'security_group_rule', ids: ['r'], parent: 'g' }],
  ['NetworkQuotaLimitsSet', { limits: { port: 4 } }],
  ['NetworkQuotaReturned', { resource: 'port', ids: ['b', 'd'] }],
  ['NetworkQuotaTaken', { resource: 'port', ids: ['b'] }],
  ['NetworkQuotaLimitsReset', {}],
  ['NetworkQuotaReturned', { resource: 'security_group_rule', ids: ['r'] }],
]);
const POOLED = events({ networkId }, [
  ['AddressRangeAdded', inRange([{ start: '10.0.0.2', end: '10.0.0.4' }], { serviceAddress: '10.0.0.2' })],
  allocated(port, 'm1', '10.0.0.3'),
  allocated(other, 'm2', '10.0.0.4', '10.0.0.9'),
  ['AddressesReleased', { portId: port }],
  allocated(port, 'm3', '10.0.0.3'),
  // Other addresses for a port that has some: below the lowest free one, then above it.
  allocated(other, 'm2', '10.0.0.9'),
  allocated(port, 'm3', '10.0.0.4'),
  ['AddressesReleased', { portId: other }],
  ['AddressRangeChanged', inRange([{ start: '10.0.0.4', end: '10.0.0.6' }], { serviceAddress: '10.0.0.4' })],
  // Releases of addresses that are not to be had any more, below the lowest free one.
  allocated(other, 'm2', '10.0.0.5', '10.0.0.3'),
  ['AddressesReleased', { portId: port }],
  ['AddressesReleased', { portId: port }],
  ['AddressesReleased', { portId: other }],
  allocated(port, 'm1', '10.0.0.5'),
  ['AddressRangeRemoved', { subnetId }],
  ['AddressesReleased', { portId: port }],
  ['AddressPoolClosed', {}],
]);

interface Tried {
  readonly aggregate: AnyAggregate;
  readonly life: readonly DomainEvent[];
  readonly version: string;
  readonly digest: string;
}
const KEPT: readonly Tried[] = [
  { aggregate: quotaAggregate, life: QUOTA, version: '2', digest: '5a17b95097420367' },
  { aggregate: networkQuota, life: NETWORK_QUOTA, version: '1', digest: '2a29725986b1883c' },
  { aggregate: addressPool, life: POOLED, version: '1', digest: 'f56c3c70a7bdb9a4' },
];

describe.each(KEPT.map((tried) => [tried.aggregate.events.stream, tried] as const))(
  'the kept state of a %s stream',
  (_, tried) => {
    const { aggregate, life } = tried;

    it('goes on as the whole stream does, wherever it was kept', () =>
      fc.assert(
        fc.property(fc.array(anEvent(tried), { maxLength: 60, size: 'max' }), fc.nat(), (events, at) => {
          const cut = at % (events.length + 1);
          const kept = aggregate.kept!.read(
            written(aggregate, fold(aggregate, events.slice(0, cut), aggregate.initial)),
          );
          const again = fold(aggregate, events.slice(cut), kept);
          const whole = fold(aggregate, events, aggregate.initial);
          expect(plain(json(again))).toEqual(plain(json(whole)));
        }),
        { numRuns: 100 },
      ));

    it('has nothing in it that can be erased', () => {
      expect(Object.keys(aggregate.events.events).flatMap(personalFieldsOf)).toEqual([]);
    });

    it('is tried with events as they may be, of every type', () => {
      const { events: known } = aggregate.events;
      for (const { type, data } of life) known[type]!.data.parse(data);
      expect([...new Set(life.map(({ type }) => type))].sort()).toEqual(Object.keys(known).sort());
    });

    it('has another version when an event means something else to it', () => {
      const digest = createHash('sha256');
      let state: unknown = aggregate.initial;
      for (const event of [...life, ...samplesOf(aggregate)]) {
        state = aggregate.evolve(state, event);
        digest.update(JSON.stringify(plain(written(aggregate, state))));
      }
      // The fold changed, or how events look that it folds: raise the version with it, and write here what it gives.
      const { version, digest: given } = tried;
      expect([aggregate.kept!.version, digest.digest('hex').slice(0, 16)]).toEqual([version, given]);
    });
  },
);

it('whatever keeps the state of its streams is tried here', () => {
  const files = readdirSync(join(import.meta.dirname, '..'), { recursive: true, encoding: 'utf8' });
  const keep = files.filter(
    (file) =>
      file.endsWith('.ts') &&
      !file.endsWith('.spec.ts') &&
      readFileSync(join(import.meta.dirname, '..', file), 'utf8').includes('  kept: {'),
  );
  expect(keep).toHaveLength(KEPT.length);
});
