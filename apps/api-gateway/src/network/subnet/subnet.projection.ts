import { type SubnetEvent, type SubnetId, subnetEvents } from '@omnivisor/contracts';
import { type Projection, type Table, table } from '@omnivisor/eventsourcing';
import { rowsOf, type Times } from '../common/rows.js';
import { evolveSubnet, noSubnet, type Subnet } from './subnet.js';

export interface SubnetRow extends Subnet, Times {
  readonly id: SubnetId;
}

export const subnetTable: Table<SubnetRow> = table('subnets_v2', ['projectId'], ['networkId', 'changedAt']);

export const subnetProjection: Projection<SubnetRow> = rowsOf<Subnet, SubnetEvent, SubnetRow>({
  table: subnetTable,
  stream: subnetEvents.stream,
  key: (event) => event.data.subnetId,
  initial: noSubnet,
  evolve: evolveSubnet,
  row: (state, times) => ({ ...state, id: state.id!, ...times }),
});
