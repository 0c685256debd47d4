import type { NetworkId, PhysicalNetworkEvent, ProviderSegment } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { type SegmentCommand, segments } from './segments.js';

const [one, two] = ['n1', 'n2'] as NetworkId[];
const vlan = (segmentationId: number): ProviderSegment => ({
  networkType: 'vlan',
  physicalNetwork: 'physnet1',
  segmentationId,
});
const flat: ProviderSegment = { networkType: 'flat', physicalNetwork: 'physnet1', segmentationId: null };
const taken = (networkId: NetworkId, segment: ProviderSegment): PhysicalNetworkEvent => ({
  type: 'SegmentTaken',
  data: { networkId, segment },
});
const given = (...events: PhysicalNetworkEvent[]) => ({
  when: (command: SegmentCommand) => segments.decide(command, events.reduce(segments.evolve, segments.initial)),
});

describe('segments of a physical network', () => {
  it('are taken once each, and by the same network as often as it likes', () => {
    expect(given().when({ type: 'take', networkId: one!, segment: vlan(5) })).toEqual([taken(one!, vlan(5))]);
    expect(given(taken(one!, vlan(5))).when({ type: 'take', networkId: one!, segment: vlan(5) })).toEqual([]);
    expect(given(taken(one!, vlan(5))).when({ type: 'take', networkId: two!, segment: vlan(6) })).toHaveLength(1);
    expect(() => given(taken(one!, vlan(5))).when({ type: 'take', networkId: two!, segment: vlan(5) })).toThrow(
      'Unable to create the network. The VLAN 5 on physical network physnet1 is in use.',
    );
  });
  it('include one that is untagged', () => {
    expect(given(taken(one!, vlan(5))).when({ type: 'take', networkId: two!, segment: flat })).toHaveLength(1);
    expect(() => given(taken(one!, flat)).when({ type: 'take', networkId: two!, segment: flat })).toThrow(
      'Unable to create the flat network. Physical network physnet1 is in use.',
    );
  });
  it('are free again once given back', () => {
    const back: PhysicalNetworkEvent = {
      type: 'SegmentReturned',
      data: { networkId: one!, physicalNetwork: 'physnet1' },
    };
    const giveBack = { type: 'giveBack', networkId: one!, physicalNetwork: 'physnet1' } as const;
    expect(given(taken(one!, flat)).when(giveBack)).toEqual([back]);
    expect(given(taken(one!, flat), back).when(giveBack)).toEqual([]);
    expect(given(taken(one!, flat), back).when({ type: 'take', networkId: two!, segment: flat })).toHaveLength(1);
  });
});
