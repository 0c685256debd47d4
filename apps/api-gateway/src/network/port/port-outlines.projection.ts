import type { PortEvent, PortOutline, RecordedEvent } from '@omnivisor/contracts';
import { type Projection, type Table, table } from '@omnivisor/eventsourcing';

/**
 * The ports of one network, or of one security group, in one compact row: what DHCP, remote-group rules and wake-ups
 * need of all of them at once.
 */
export interface PortsRow {
  readonly id: string;
  readonly ports: Readonly<Record<string, Pick<PortOutline, 'mac' | 'addresses' | 'hostname' | 'hostId'>>>;
}

interface Outlines {
  readonly portId: string;
  readonly before: PortOutline | null;
  readonly after: PortOutline | null;
}

/** How an event changes the outline of a port; null when it does not. */
export const outlinesOf = (recorded: RecordedEvent): Outlines | null => {
  const event = recorded as unknown as PortEvent;
  switch (event.type) {
    case 'PortCreated': {
      const { portId, networkId, attributes, hostname, host } = event.data;
      const addresses = attributes.fixedIps.map((ip) => ip.address);
      const { securityGroups, mac } = attributes;
      const hostId = host?.id ?? null;
      return { portId, before: null, after: { networkId, securityGroups, mac, addresses, hostname, hostId } };
    }
    case 'PortChanged':
    case 'PortAttached':
    case 'PortBound':
    case 'PortDetached':
      return event.data;
    case 'PortDeleted':
      return { ...event.data, after: null };
    default:
      return null;
  }
};

const portsBy = (
  tableOf: Table<PortsRow>,
  keysOf: (outline: PortOutline) => readonly string[],
): Projection<PortsRow> => ({
  table: tableOf,
  keys: (event) => {
    const change = outlinesOf(event);
    if (!change) return [];
    return [...new Set([change.before, change.after].flatMap((o) => (o ? keysOf(o) : [])))];
  },
  evolve: (row, event, key) => {
    const { portId, after } = outlinesOf(event)!;
    const { [portId]: _, ...others } = row?.ports ?? {};
    if (!after || !keysOf(after).includes(key))
      return Object.keys(others).length === 0 ? undefined : { id: key, ports: others };
    const { mac, addresses, hostname, hostId } = after;
    return { id: key, ports: { ...others, [portId]: { mac, addresses, hostname, hostId } } };
  },
});

export const networkPortsTable: Table<PortsRow> = table('network_ports_v1');
export const networkPortsProjection = portsBy(networkPortsTable, (o) => [o.networkId]);
export const groupPortsTable: Table<PortsRow> = table('security_group_ports_v1');
export const groupPortsProjection = portsBy(groupPortsTable, (o) => o.securityGroups);
