import {
  type NetworkId,
  type PhysicalNetworkEvent,
  type ProviderSegment,
  physicalNetworkEvents,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { Map as ImmutableMap } from 'immutable';
import { flatNetworkInUse, vlanIdInUse } from '../common/errors.js';

/** VLAN ids of the networks on one physical network; null for the untagged one. */
export type Segments = ImmutableMap<NetworkId, number | null>;

export type SegmentCommand =
  | { readonly type: 'take'; readonly networkId: NetworkId; readonly segment: ProviderSegment }
  | { readonly type: 'giveBack'; readonly networkId: NetworkId; readonly physicalNetwork: string };

const decide = (command: SegmentCommand, held: Segments): PhysicalNetworkEvent[] => {
  const { networkId } = command;
  if (command.type === 'giveBack')
    return held.has(networkId)
      ? [{ type: 'SegmentReturned', data: { networkId, physicalNetwork: command.physicalNetwork } }]
      : [];
  const { segment } = command;
  const { physicalNetwork, segmentationId } = segment;
  const holder = held.findKey((id) => id === segmentationId);
  if (holder === networkId) return [];
  if (holder !== undefined)
    throw segmentationId === null ? flatNetworkInUse(physicalNetwork) : vlanIdInUse(segmentationId, physicalNetwork);
  return [{ type: 'SegmentTaken', data: { networkId, segment } }];
};

const evolve = (held: Segments, event: PhysicalNetworkEvent): Segments => {
  const { networkId } = event.data;
  return event.type === 'SegmentTaken'
    ? held.set(networkId, event.data.segment.segmentationId)
    : held.delete(networkId);
};

/** The segments of one physical network. */
export const segments: Aggregate<Segments, SegmentCommand, PhysicalNetworkEvent> = {
  events: physicalNetworkEvents,
  initial: ImmutableMap(),
  decide,
  evolve,
};
