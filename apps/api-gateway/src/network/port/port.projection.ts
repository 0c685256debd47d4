import { type PortEvent, type PortId, portEvents } from '@omnivisor/contracts';
import { type Projection, type Table, table } from '@omnivisor/eventsourcing';
import { rowsOf, type Times } from '../common/rows.js';
import { evolvePort, noPort, type Port } from './port.js';

export interface PortRow extends Port, Times {
  readonly id: PortId;
  readonly deviceId: string;
  readonly name: string;
  readonly securityGroups: readonly string[];
  readonly addresses: readonly string[];
  readonly hostId: string | null;
}

export const portTable: Table<PortRow> = table(
  'ports_v2',
  ['projectId'],
  ['networkId'],
  ['deviceId'],
  ['serverId'],
  ['hostId', 'changedAt'],
);

export const portProjection: Projection<PortRow> = rowsOf<Port, PortEvent, PortRow>({
  table: portTable,
  stream: portEvents.stream,
  key: (event) => event.data.portId,
  initial: noPort,
  evolve: evolvePort,
  row: (state, times) => ({
    ...state,
    id: state.id!,
    deviceId: state.attributes.deviceId,
    name: state.attributes.name,
    securityGroups: state.attributes.securityGroups,
    addresses: state.attributes.fixedIps.map((ip) => ip.address),
    hostId: state.host?.id ?? null,
    ...times,
  }),
});
