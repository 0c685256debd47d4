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

/** A recorded event, about few things, so that they meet. */
const anEvent = (aggregate: AnyAggregate) =>
  fc.tuple(fc.constantFrom(...samplesOf(aggregate)), fc.array(fc.nat(2), { minLength: 1 })).map(([sample, ids]) => {
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
const written = ({ kept }: AnyAggregate, state: unknown): unknown => JSON.parse(JSON.stringify(kept!.write(state)));

const KEPT: readonly (readonly [AnyAggregate, version: string, digest: string])[] = [
  [quotaAggregate, '1', '94809e70bdef12e7'],
  [networkQuota, '1', '54d19c07bb893f23'],
  [addressPool, '1', '32873b0e4efbffde'],
];

describe.each(KEPT.map(([aggregate, ...known]) => [aggregate.events.stream, aggregate, known] as const))(
  'the kept state of a %s stream',
  (_, aggregate, known) => {
    it('goes on as the whole stream does, wherever it was kept', () =>
      fc.assert(
        fc.property(fc.array(anEvent(aggregate), { maxLength: 60, size: 'max' }), fc.nat(), (events, at) => {
          const cut = at % (events.length + 1);
          const kept = aggregate.kept!.read(
            written(aggregate, fold(aggregate, events.slice(0, cut), aggregate.initial)),
          );
          const again = fold(aggregate, events.slice(cut), kept);
          const whole = fold(aggregate, events, aggregate.initial);
          expect(plain(written(aggregate, again))).toEqual(plain(written(aggregate, whole)));
          expect(Object.keys(again as object).sort()).toEqual(Object.keys(whole as object).sort());
        }),
        { numRuns: 100 },
      ));

    it('has nothing in it that can be erased', () => {
      expect(Object.keys(aggregate.events.events).flatMap(personalFieldsOf)).toEqual([]);
    });

    it('has another version when an event means something else to it', () => {
      const digest = createHash('sha256');
      const samples = samplesOf(aggregate);
      for (let n = 1; n <= samples.length; n++)
        digest.update(
          JSON.stringify(plain(written(aggregate, fold(aggregate, samples.slice(0, n), aggregate.initial)))),
        );
      // The fold changed, or how events look that it folds: raise the version with it, and write here what it gives.
      expect([aggregate.kept!.version, digest.digest('hex').slice(0, 16)]).toEqual(known);
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
