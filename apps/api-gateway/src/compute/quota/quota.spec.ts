import type { ProjectId, QuotaEvent } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, it } from 'vitest';
import { type QuotaCommand, quotaAggregate } from './quota.js';

const given = specificationOf(quotaAggregate);
const projectId = 'p' as ProjectId;
const defaults = { instances: 2, cores: 4 };
const reserved = (owner: string, amounts: Record<string, number> = { instances: 1, cores: 1 }): QuotaEvent => ({
  type: 'QuotaReserved',
  data: { projectId, owner, amounts },
});
const reserve = (owners: string[], atLeast = owners.length, amounts = { instances: 1, cores: 1 }): QuotaCommand => ({
  type: 'reserve',
  projectId,
  defaults,
  atLeast,
  reservations: owners.map((owner) => ({ owner, amounts })),
});

describe('amounts that change', () => {
  const amend = (cores: number, limit?: number, generation = 1): QuotaCommand => ({
    ...{ type: 'amend', projectId, owner: 's', amounts: { cores }, generation },
    ...(limit === undefined ? {} : { defaults: { cores: limit } }),
  });
  const took: QuotaEvent = { type: 'QuotaReserved', data: { projectId, owner: 's', amounts: { cores: 2 } } };
  const amended = (cores: number, generation = 1): QuotaEvent => ({
    type: 'QuotaAmended',
    data: { projectId, owner: 's', amounts: { cores }, generation },
  });
  it('are those of the owner from then on', () => {
    given(took).when(amend(5, 5)).then(amended(5));
    given(took, amended(5)).when(amend(5, 5)).thenNothing();
    given(took, amended(5)).when(amend(2)).then(amended(2));
    given().when(amend(2, 5)).thenNothing();
  });
  it('are not those of an older generation of the owner', () => {
    given(took, amended(5, 3))
      .when(amend(2, 5, 2))
      .thenNothing();
    given(took, amended(5, 3))
      .when(amend(2, undefined, 3))
      .then(amended(2, 3));
  });
  it('are not taken late of a generation that is settled', () => {
    given(took, amended(2, 3))
      .when(amend(5, 5, 3))
      .thenNothing();
    given(took, amended(2, 3))
      .when(amend(5, 5, 4))
      .then(amended(5, 4));
  });
  it('are refused over the limit, unless they are there already', () => {
    given(took)
      .when(amend(6, 5))
      .thenRefused('overQuota', /^Quota exceeded for cores: Requested 4, but already used 2 of 5 cores$/);
    given(took).when(amend(6)).then(amended(6));
    given(took, amended(6))
      .when({ type: 'release', projectId, owner: 's' } as QuotaCommand)
      .then({
        type: 'QuotaReleased',
        data: { projectId, owner: 's' },
      });
  });
});

describe('a quota', () => {
  it('gives what is left', () =>
    given(reserved('a'))
      .when(reserve(['b']))
      .then(reserved('b')));
  it('gives nothing twice to one owner', () =>
    given(reserved('a'))
      .when(reserve(['a']))
      .thenNothing());
  it('is refused with what was asked, taken and allowed', () =>
    given(reserved('a', { instances: 1, cores: 3 }), reserved('b', { instances: 1, cores: 1 }))
      .when(reserve(['c'], 1, { instances: 2, cores: 2 }))
      .thenRefused(
        'overQuota',
        /^Quota exceeded for cores, instances: Requested 2, 2, but already used 4, 2 of 4, 2 cores, instances$/,
      ));
  it('gives fewer than asked when fewer will do', () =>
    given(reserved('a'))
      .when(reserve(['b', 'c', 'd'], 1))
      .then(reserved('b')));
  it('gives none when too few fit', () =>
    given(reserved('a'))
      .when(reserve(['b', 'c'], 2))
      .thenRefused('overQuota', /instances/));
  it('takes back what an owner had', () =>
    given(reserved('a'), reserved('b'), { type: 'QuotaReleased', data: { projectId, owner: 'a' } })
      .when(reserve(['c']))
      .then(reserved('c')));
  it('is released once', () =>
    given(reserved('a'), { type: 'QuotaReleased', data: { projectId, owner: 'a' } })
      .when({ type: 'release', projectId, owner: 'a' })
      .thenNothing());
  it('follows the limits of its project', () =>
    given({ type: 'QuotaLimitsSet', data: { projectId, limits: { instances: 0 } } })
      .when(reserve(['a']))
      .thenRefused('overQuota', /already used 0 of 0 instances$/));
  it('has no limit at -1', () =>
    given({ type: 'QuotaLimitsSet', data: { projectId, limits: { instances: -1, cores: -1 } } })
      .when(reserve(['a', 'b', 'c', 'd', 'e', 'f']))
      .then(...['a', 'b', 'c', 'd', 'e', 'f'].map((o) => reserved(o))));
  it('uses the defaults again after a reset', () =>
    given(
      { type: 'QuotaLimitsSet', data: { projectId, limits: { instances: 0 } } },
      { type: 'QuotaLimitsReset', data: { projectId } },
    )
      .when(reserve(['a']))
      .then(reserved('a')));
});
