import {
  type AddressPoolEvent,
  after,
  type CommandContext,
  type Instant,
  type PortEvent,
  type RecordedEvent,
  seconds,
} from '@omnivisor/contracts';
import { type DueWork, dueTable, type Process, type Projection, type Table, table } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';
import { addressPool } from '../address-pool/address-pool.js';
import { networkQuota } from '../quota/network-quota.js';
import { port } from './port.js';

/** Addresses that a port holds in the pool of its network, and whether the port itself is there. */
export interface PortReservationRow {
  readonly networkId: string;
  readonly held: boolean;
  readonly port: 'expected' | 'there' | 'gone';
  readonly projectId: string | null;
  readonly since: Instant;
}

export const PORT_RESERVATION_PROCESS = 'port-reservation';
export const portReservationTable: Table<PortReservationRow> = table('port_reservations_v1');

type Relevant = PortEvent | AddressPoolEvent;
/** A request takes its addresses first and makes its port then; one that takes longer has died between. */
const GRACE = seconds(60);

export const portReservationProjection: Projection<PortReservationRow> = {
  table: portReservationTable,
  keys: (recorded) => {
    const event = recorded as unknown as Relevant;
    switch (event.type) {
      case 'AddressesAllocated':
      case 'AddressesReleased':
      case 'PortCreated':
      case 'PortCreateAbandoned':
      case 'PortDeleted':
        return [event.data.portId];
      default:
        return [];
    }
  },
  evolve: (row, recorded) => {
    const event = recorded as unknown as Relevant;
    const since = recorded.recordedAt;
    const base = row ?? { networkId: '', held: false, port: 'expected' as const, projectId: null, since };
    switch (event.type) {
      case 'AddressesAllocated':
        return { ...base, networkId: event.data.networkId, projectId: event.data.projectId, held: true, since };
      case 'AddressesReleased':
        return base.port === 'there' ? { ...base, held: false } : undefined;
      case 'PortCreated':
        return { ...base, networkId: event.data.networkId, projectId: event.data.projectId, port: 'there', since };
      case 'PortCreateAbandoned':
      case 'PortDeleted':
        return row?.held ? { ...row, port: 'gone', since } : undefined;
      default:
        return row;
    }
  },
  derive: (id, row) => {
    const dueAt =
      !row?.held || row.port === 'there'
        ? null
        : row.port === 'gone'
          ? after(row.since, seconds(5))
          : after(row.since, GRACE);
    const work: DueWork | undefined = dueAt ? { process: PORT_RESERVATION_PROCESS, id, dueAt } : undefined;
    return [{ table: dueTable as Table<never>, key: `${PORT_RESERVATION_PROCESS}/${id}`, row: work }];
  },
};

/** Gives back the addresses of ports that are gone or never came. */
export class PortReservationProcess implements Process {
  readonly name = PORT_RESERVATION_PROCESS;
  constructor(private readonly core: GatewayCore) {}

  async step(id: string): Promise<void> {
    const row = await this.core.readModel.get(portReservationTable, id);
    if (!row?.held || row.port === 'there') return;
    const { commands } = this.core;
    const portId = id as never;
    const networkId = row.networkId as never;
    if (row.port === 'expected') {
      const outcome = await commands.execute(port, id, { type: 'abandon', portId }, this.context(id, 'abandon'));
      if (outcome.state.id !== null) return;
    }
    await commands.execute(
      addressPool,
      row.networkId,
      { type: 'release', networkId, portId },
      this.context(id, `release ${row.since}`),
    );
    if (row.projectId === null) return;
    const projectId = row.projectId as never;
    await commands.execute(
      networkQuota,
      row.projectId,
      { type: 'giveBack', projectId, resource: 'port', ids: [id] },
      this.context(id, `quota ${row.since}`),
    );
  }

  private context(id: string, step: string): CommandContext {
    const requestId = `req-${id}` as CommandContext['requestId'];
    return {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: `${PORT_RESERVATION_PROCESS} ${id} ${step}` as CommandContext['commandId'],
    };
  }
}

export const isPortEvent = (event: RecordedEvent): event is RecordedEvent & PortEvent =>
  event.stream.startsWith('port-');
