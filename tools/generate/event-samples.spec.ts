import { readdirSync } from 'node:fs';
import { type DomainEvent, definitionOf, type EventSet, eventSets, type RecordedEvent } from '@omnivisor/contracts';
import { type Aggregate, assertKnown, type Projection, project } from '@omnivisor/eventsourcing';
import { MemoryEventStore, MemoryReadModel } from '@omnivisor/eventsourcing/memory';
import { SystemClock } from '@omnivisor/platform/ports';
import { SeededIds } from '@omnivisor/platform/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { cadfEvent } from '../../apps/api-gateway/src/audit/cadf/cadf-event.js';
import { personalData } from '../../apps/api-gateway/src/audit/erasure/personal-data.js';
import { sealingKeys } from '../../apps/api-gateway/src/audit/evidence/sealing-keys.js';
import { tell } from '../../apps/api-gateway/src/audit/why/tell.js';
import { consoleAggregate } from '../../apps/api-gateway/src/compute/console/console.js';
import { flavorAggregate } from '../../apps/api-gateway/src/compute/flavor/flavor.js';
import { keypairAggregate } from '../../apps/api-gateway/src/compute/keypair/keypair.js';
import { quotaAggregate } from '../../apps/api-gateway/src/compute/quota/quota.js';
import { serverAggregate } from '../../apps/api-gateway/src/compute/server/lifecycle/server-lifecycle.js';
import { serverGroupAggregate } from '../../apps/api-gateway/src/compute/server-group/server-group.js';
import { assignments } from '../../apps/api-gateway/src/identity/assignment/assignment.js';
import { unifiedLimits } from '../../apps/api-gateway/src/identity/limit/unified-limits.js';
import * as records from '../../apps/api-gateway/src/identity/record/aggregates.js';
import { names } from '../../apps/api-gateway/src/identity/record/names.js';
import { tokenKeys } from '../../apps/api-gateway/src/identity/token/token-service.js';
import { addressPool } from '../../apps/api-gateway/src/network/address-pool/address-pool.js';
import { network } from '../../apps/api-gateway/src/network/network/network.js';
import { port } from '../../apps/api-gateway/src/network/port/port.js';
import { networkQuota } from '../../apps/api-gateway/src/network/quota/network-quota.js';
import { securityGroup } from '../../apps/api-gateway/src/network/security-group/security-group.js';
import { segments } from '../../apps/api-gateway/src/network/segment/segments.js';
import { subnet } from '../../apps/api-gateway/src/network/subnet/subnet.js';
import { notificationsOf } from '../../apps/api-gateway/src/notifications/notifications.js';
import { gatewayProjections } from '../../apps/api-gateway/src/projections.js';
import { imageProjections } from '../../apps/image-service/src/image/image.projection.js';
import { imageAggregate } from '../../apps/image-service/src/image/image-lifecycle.js';
import { World } from '../../apps/scheduler/src/core/world.js';
import { feedReaderAggregate } from '../../apps/scheduler/src/feed-reader/feed-reader.js';
import { registryAggregate } from '../../apps/scheduler/src/registry/registry-lifecycle.js';
import { hostAggregate } from '../../apps/scheduler/src/scheduling/host/host-lifecycle.js';
import { providerAggregate } from '../../apps/scheduler/src/scheduling/provider/provider-lifecycle.js';
import { contextOf } from '../../libs/eventsourcing/src/testing/event-store-suite.js';
import { committedSamples, FOLDER, missingSamples } from './event-samples.mjs';

type AnyAggregate = Pick<Aggregate<unknown, never, DomainEvent>, 'events' | 'initial' | 'evolve'>;

/** Who folds which streams. Streams that are only written, or whose fold is a single line, have none here. */
const aggregates = [
  ...Object.values(records).filter((value) => 'evolve' in value),
  ...[names, assignments, unifiedLimits, tokenKeys, sealingKeys, personalData],
  ...[serverAggregate, serverGroupAggregate, keypairAggregate, flavorAggregate, consoleAggregate, quotaAggregate],
  ...[hostAggregate, providerAggregate, registryAggregate, feedReaderAggregate, imageAggregate],
  ...[network, subnet, addressPool, port, securityGroup, networkQuota, segments],
] as unknown as readonly AnyAggregate[];
const FOLDED_BY_NOBODY = ['token', 'login', 'placement', 'refusal'];

const store = new MemoryEventStore(new SystemClock(), new SeededIds());
/** Every committed sample as an event of one log, in the order in which they were first thought of. */
let log: readonly RecordedEvent[];
beforeAll(async () => {
  for (const set of eventSets) {
    const stream = `${set.stream}-6f70656e-6e65-4bad-8f0d-5c6e3f2a1b07`;
    for (const [n, sample] of committedSamples(set.stream).entries())
      await store.append(stream, n - 1, [{ ...sample, context: contextOf(`${stream} ${n}`) }]);
  }
  log = await store.readAll(0, 100_000);
});

const ofSet = (set: EventSet) => log.filter((event) => Object.hasOwn(set.events, event.type));
const nameOf = ({ type, schemaVersion, revision }: RecordedEvent) =>
  `${type} version ${schemaVersion}, no. ${revision}`;

describe.each(eventSets.map((set) => [set.stream, set] as const))('recorded events of %s', (_, set) => {
  it('are there for every type, version and form; after a change run tsc -b && node tools/generate/event-samples.mjs', () =>
    expect(missingSamples(set)).toEqual([]));

  it('mean to this release what they say: no type is forgotten, no field dropped', () => {
    for (const event of ofSet(set)) {
      assertKnown(event);
      expect(definitionOf(event.type)!.data.parse(event.data), nameOf(event)).toEqual(event.data);
    }
    expect(ofSet(set)).toHaveLength(committedSamples(set.stream).length);
  });
});

describe.each(eventSets.map((set) => [set.stream, set] as const))('folding recorded events of %s', (stream, set) => {
  const own = aggregates.filter((aggregate) => aggregate.events === set);

  it('is done by an aggregate', () => expect(own.length > 0).toBe(!FOLDED_BY_NOBODY.includes(stream)));

  it.each(own.map((aggregate) => [aggregate] as const))(
    'gives a state: alone, after the first, after all',
    (aggregate) => {
      const { initial, evolve } = aggregate;
      const events = ofSet(set);
      const born = evolve(initial, events[0]!);
      let state = initial;
      for (const event of events) {
        expect(() => evolve(initial, event), `${nameOf(event)} alone`).not.toThrow();
        expect(() => evolve(born, event), `${nameOf(event)} after the first`).not.toThrow();
        expect(
          () => {
            state = evolve(state, event);
          },
          `${nameOf(event)} after all before it`,
        ).not.toThrow();
      }
    },
  );
});

describe('recorded events', () => {
  it('are of streams that this release knows', () =>
    expect(readdirSync(FOLDER).sort()).toEqual(eventSets.map((set) => `${set.stream}.jsonl`).sort()));

  const projected = async (projections: readonly Projection[], events: readonly RecordedEvent[]) => {
    const rows = new MemoryReadModel();
    let changes = 0;
    for (const event of events)
      await rows.advance(async (_, before) => {
        const found = await project(projections, [event], before);
        changes += found.length;
        return { to: event.position, changes: found };
      });
    return changes;
  };

  it.each([
    ['the gateway', gatewayProjections],
    ['the image service', imageProjections],
  ] as const)('become rows of %s, all in a row and each alone', async (_, projections) => {
    expect(await projected(projections, log)).toBeGreaterThan(20);
    for (const event of log) await expect(projected(projections, [event]), nameOf(event)).resolves.toBeDefined();
  });

  it('make a world for the scheduler', () => {
    const world = new World();
    for (const event of log) expect(() => world.apply(event), nameOf(event)).not.toThrow();
    for (const event of log) expect(() => new World().apply(event), `${nameOf(event)} alone`).not.toThrow();
  });

  it('are told in words, as CADF and as notifications', async () => {
    for (const event of log) {
      expect(tell(event, true), nameOf(event)).not.toBe('');
      expect(cadfEvent({ event, project: null }, 'spec', true).action, nameOf(event)).toBeTruthy();
      await expect(notificationsOf(store, event), nameOf(event)).resolves.toBeDefined();
    }
  });
});
