import { readFileSync } from 'node:fs';
import type { EventId, RecordedEvent } from '@omnivisor/contracts';
import { Digest } from '@omnivisor/eventsourcing/snapshot';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { World } from './world.js';
import { partsOf, stateOf, WORLD_VERSION } from './world-snapshot.js';

const SAMPLES = new URL('../../../../libs/contracts/samples/', import.meta.url);
const KINDS = ['host', 'provider', 'server', 'servergroup', 'resource-registry', 'feed-reader'];
type Sample = Pick<RecordedEvent, 'type' | 'data'>;
const samples = KINDS.map((kind) =>
  readFileSync(new URL(`${kind}.jsonl`, SAMPLES), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Sample),
);
const named = (type: string) => samples.flat().find((sample) => sample.type === type)!;
/** They come once for each, before all others. */
const BIRTHS = ['HostEnrolled', 'ProviderCreated'];
const types = samples.map((list) => [...new Set(list.map(({ type }) => type))].filter((t) => !BIRTHS.includes(t)));

const ID = /6f70656e-6e65-4bad-8f0d-5c6e3f2a1b07/g;
const ATTEMPT = /"attempt":\d+/g;
const POOL = ['a', 'b', 'c'].map((c) => `6f70656e-6e65-4bad-8f0d-5c6e3f2a1b0${c}`);

/** An event that the log may have, about few things, so that they meet. */
const anEvent = fc
  .record({
    kind: fc.nat(KINDS.length - 1),
    type: fc.nat(),
    sample: fc.nat(),
    ids: fc.array(fc.nat(2)),
    attempt: fc.nat(1),
  })
  .map(({ kind, type, sample, ids, attempt }) => {
    const ofType = types[kind]![type % types[kind]!.length];
    const fitting = samples[kind]!.filter((s) => s.type === ofType);
    let n = 0;
    const text = JSON.stringify(fitting[sample % fitting.length])
      .replace(ID, () => POOL[ids[n++ % Math.max(1, ids.length)] ?? 0]!)
      .replace(ATTEMPT, `"attempt":${attempt + 1}`);
    return JSON.parse(text) as Sample;
  });

const begun: Sample[] = POOL.flatMap((id) => [
  { type: 'HostEnrolled', data: { ...(named('HostEnrolled').data as object), hostId: id, providerId: id } },
  { type: 'ProviderCreated', data: { ...(named('ProviderCreated').data as object), hostId: id, providerId: id } },
]);

const recorded = (list: readonly Sample[]): RecordedEvent[] =>
  list.map((sample, i) => ({
    ...sample,
    id: `event-${i}` as EventId,
    stream: 'any-1',
    revision: i,
    position: i + 1,
    recordedAt: new Date(i).toISOString() as never,
    schemaVersion: 1,
    context: { requestId: `req-${i}` } as never,
  }));

const fold = (world: World, events: readonly RecordedEvent[]): World => {
  for (const event of events) world.apply(event);
  return world;
};
/** All that a world knows, in an order that is its own. */
const known = (world: World): unknown[] => [...partsOf(world.state)].map((part) => JSON.parse(part));
const resumed = (world: World): World => {
  const again = new World();
  again.restore(stateOf([...partsOf(world.state)]));
  return again;
};

describe('a world that was kept', () => {
  it('is the world that folded the whole log, wherever it was kept', () =>
    fc.assert(
      fc.property(fc.array(anEvent, { maxLength: 200, size: 'max' }), fc.nat(), (list, at) => {
        const events = recorded([...begun, ...list]);
        const cut = at % (events.length + 1);
        const whole = fold(new World(), events);
        const again = fold(resumed(fold(new World(), events.slice(0, cut))), events.slice(cut));
        expect(known(again)).toEqual(known(whole));
      }),
      { numRuns: 100 },
    ));

  it('does not change while it is written', () => {
    const world = fold(new World(), recorded(samples.flat().slice(0, 30)));
    const before = JSON.stringify(known(world));
    const parts = partsOf(world.state)[Symbol.iterator]();
    const first = parts.next().value;
    fold(world, recorded(samples.flat()));
    const rest = { [Symbol.iterator]: () => parts };
    expect(JSON.stringify([JSON.parse(first), ...[...rest].map((part) => JSON.parse(part))])).toBe(before);
  });

  it('has another version when an event means something else to it', () => {
    const first = [...BIRTHS, 'HostSessionStarted', 'ServerCreateRequested', 'AllocationClaimed', 'ServerScheduled'];
    const before = recorded(first.map(named));
    const after = (sample: Sample) => {
      const [event] = recorded([sample]);
      return JSON.stringify(known(fold(new World(), [...before, { ...event!, position: 100 }])));
    };
    // What it makes of each event that it does not ignore.
    const ignored = after(named('ServerRenamed'));
    const digest = new Digest();
    for (const made of samples.flat().map(after)) if (made !== ignored) digest.add(made);
    // The fold changed, or how events look that it folds: raise WORLD_VERSION with the fold, and write here what it gives.
    expect([WORLD_VERSION, digest.text().slice(0, 16)]).toEqual(['7', '3e9ba5953489015b']);
  });
});
