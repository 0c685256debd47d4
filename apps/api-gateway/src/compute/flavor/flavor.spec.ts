import type { EventData, FlavorEvent, FlavorId, flavorEvents, GiB, MiB, ProjectId } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, it } from 'vitest';
import { flavorAggregate } from './flavor.js';

const given = specificationOf(flavorAggregate);
const flavorId = '1' as FlavorId;
const projectId = 'p' as ProjectId;
const offer = (
  over: Partial<EventData<typeof flavorEvents, 'FlavorCreated'>> = {},
): EventData<typeof flavorEvents, 'FlavorCreated'> => ({
  flavorId,
  name: 'small',
  vcpus: 1,
  memory: 128 as MiB,
  disk: 1 as GiB,
  ephemeral: 0 as GiB,
  swap: 0 as MiB,
  rxtxFactor: 1,
  isPublic: true,
  description: null,
  ...over,
});
const created = (over = {}): FlavorEvent => ({ type: 'FlavorCreated', data: offer(over) });

describe('a flavor', () => {
  it('is created', () => given().when({ type: 'create', flavor: offer() }).then(created()));
  it('is refused when its name is taken', () =>
    given(created())
      .when({ type: 'create', flavor: offer({ flavorId: '2' as FlavorId }) })
      .thenRefused('conflict', /^Flavor with name small already exists\.$/));
  it('is refused when its id is taken', () =>
    given(created())
      .when({ type: 'create', flavor: offer({ name: 'other' }) })
      .thenRefused('conflict', /^Flavor with ID 1 already exists\.$/));
  it('leaves its name free when it is deleted', () =>
    given(created(), { type: 'FlavorDeleted', data: { flavorId } })
      .when({ type: 'create', flavor: offer() })
      .then(created()));
  it('records only extra specs that are new', () =>
    given(created(), { type: 'FlavorExtraSpecsSet', data: { flavorId, extraSpecs: { a: '1' } } })
      .when({ type: 'setExtraSpecs', flavorId, extraSpecs: { a: '1', b: '2' } })
      .then({ type: 'FlavorExtraSpecsSet', data: { flavorId, extraSpecs: { b: '2' } } }));
  it('has no extra spec to remove twice', () =>
    given(
      created(),
      { type: 'FlavorExtraSpecsSet', data: { flavorId, extraSpecs: { a: '1' } } },
      {
        type: 'FlavorExtraSpecRemoved',
        data: { flavorId, key: 'a' },
      },
    )
      .when({ type: 'removeExtraSpec', flavorId, key: 'a' })
      .thenRefused('notFound', /no extra specs with key a/));
  it('that is public refuses an access list from 2.7 on', () =>
    given(created())
      .when({ type: 'grant', flavorId, projectId, refusePublic: true })
      .thenRefused('conflict', /public flavor/));
  it('grants access once', () =>
    given(created({ isPublic: false }), { type: 'FlavorAccessGranted', data: { flavorId, projectId } })
      .when({ type: 'grant', flavorId, projectId, refusePublic: true })
      .thenRefused('conflict', /already exists/));
  it('that is unknown cannot be changed', () =>
    given()
      .when({ type: 'delete', flavorId })
      .thenRefused('notFound', /^Flavor 1 could not be found\.$/));
});
