import { type NetworkEvent, type NetworkId, networkEvents, type RecordedEvent } from '@omnivisor/contracts';
import { type Projection, type Table, table } from '@omnivisor/eventsourcing';
import { rowsOf, type Times } from '../common/rows.js';
import { evolveNetwork, type Network, noNetwork } from './network.js';

export interface NetworkRow extends Network, Times {
  readonly id: NetworkId;
  readonly name: string;
  readonly shared: boolean;
  readonly external: boolean;
}

export const networkTable: Table<NetworkRow> = table('networks_v2', ['projectId'], ['shared'], ['external'], ['name']);

export const networkProjection: Projection<NetworkRow> = rowsOf<Network, NetworkEvent, NetworkRow>({
  table: networkTable,
  stream: networkEvents.stream,
  key: (event) => event.data.networkId,
  initial: noNetwork,
  evolve: evolveNetwork,
  row: (state, times) => ({
    ...state,
    id: state.id!,
    name: state.attributes.name,
    shared: state.attributes.shared,
    external: state.attributes.external,
    ...times,
  }),
});

export const isNetworkEvent = (event: RecordedEvent): event is RecordedEvent & NetworkEvent =>
  event.type in networkEvents.events;
