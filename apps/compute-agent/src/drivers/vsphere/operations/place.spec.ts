import { describe, expect, it } from 'vitest';
import { Ref } from '../transport/soap.js';
import { Place } from './place.js';

const member = (n: number) => ({ ref: new Ref('HostSystem', `host-${n}`), name: `esx${n}`, place: `vc/host-${n}` });
const placeOf = (n: number | null) =>
  new Place(
    { ref: new Ref('Datacenter', 'datacenter-1'), path: 'DC0' },
    { ref: new Ref('ClusterComputeResource', 'domain-c1'), place: 'vc/domain-c1' },
    [member(1), member(2)],
    n === null ? null : member(n),
    new Ref('Folder', 'group-v1'),
    new Ref('ResourcePool', 'resgroup-1'),
    { ref: new Ref('Datastore', 'datastore-1'), name: 'store' },
  );

describe('the place of an agent', () => {
  it('is that of its member only, or of the cluster and all of its members', () => {
    expect(['vc/host-1', 'vc/host-2', 'vc/domain-c1'].map((place) => placeOf(1).is(place))).toEqual([
      ...[true, false, false],
    ]);
    expect(['vc/host-1', 'vc/host-3', 'vc/domain-c1'].map((place) => placeOf(null).is(place))).toEqual([
      ...[true, false, true],
    ]);
  });

  it('stays that of members that have left, and gets that of those that come', () => {
    const whole = placeOf(null);
    whole.members = [member(2), member(3)];
    expect(['vc/host-1', 'vc/host-2', 'vc/host-3'].map((place) => whole.is(place))).toEqual([true, true, true]);
    expect(whole.hosts.map(({ name }) => name)).toEqual(['esx2', 'esx3']);
    expect([whole.own('vc/host-1'), whole.own('vc/host-9')]).toEqual(['vc/domain-c1', 'vc/host-9']);
  });
});
