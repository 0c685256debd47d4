import type { PortEvent, PortOutline, Position, RecordedEvent, SecurityGroupId } from '@omnivisor/contracts';
import { type Projection, type Table, table } from '@omnivisor/eventsourcing';

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

/** Hosts that have ports of a network or of a security group. */
export interface PortHostRow {
  /** The network or the security group. */
  readonly of: string;
  readonly hostId: string;
  readonly ports: number;
  /** When the first of these ports came. */
  readonly since: Position;
}

export const portHostTable: Table<PortHostRow> = table('port_hosts_v1', ['of'], ['hostId']);

const placesOf = (outline: PortOutline | null): string[] =>
  outline?.hostId ? [outline.networkId, ...outline.securityGroups].map((of) => `${of}/${outline.hostId}`) : [];

export const portHostProjection: Projection<PortHostRow> = {
  table: portHostTable,
  keys: (event) => {
    const change = outlinesOf(event);
    return change ? [...new Set([...placesOf(change.before), ...placesOf(change.after)])] : [];
  },
  evolve: (row, event, key) => {
    const { before, after } = outlinesOf(event)!;
    const count = (outline: PortOutline | null) => (placesOf(outline).includes(key) ? 1 : 0);
    const more = count(after) - count(before);
    if (more === 0) return row;
    const ports = (row?.ports ?? 0) + more;
    const [of = '', hostId = ''] = key.split('/');
    return ports > 0 ? { of, hostId, ports, since: row?.since ?? event.position } : undefined;
  },
};

/** A port in a security group, or one that was: who follows the group hears that it left. */
export interface GroupMemberRow {
  readonly groupId: string;
  readonly portId: string;
  readonly member: boolean;
  readonly addresses: readonly string[];
  readonly changedAt: Position;
}

export const groupMemberTable: Table<GroupMemberRow> = table(
  'security_group_members_v2',
  ['groupId', 'changedAt'],
  ['groupId', 'member'],
);

export const groupMemberProjection: Projection<GroupMemberRow> = {
  table: groupMemberTable,
  keys: (event) => {
    const change = outlinesOf(event);
    if (!change) return [];
    const groups = [change.before, change.after].flatMap((outline) => outline?.securityGroups ?? []);
    return [...new Set(groups)].map((group) => `${group}/${change.portId}`);
  },
  evolve: (row, event, key) => {
    const { portId, after } = outlinesOf(event)!;
    const groupId = key.slice(0, -portId.length - 1);
    const member = after?.securityGroups.includes(groupId as SecurityGroupId) ?? false;
    const addresses = member ? after!.addresses : [];
    const same = row?.member === member && row.addresses.join() === addresses.join();
    return same ? row : { groupId, portId, member, addresses, changedAt: event.position };
  },
};

/** Which port of a network has an address. */
export interface AddressRow {
  readonly portId: string;
}

export const addressTable: Table<AddressRow> = table('network_addresses_v1');
export const addressKey = (networkId: string, address: string): string => `${networkId} ${address}`;

const addressKeys = (outline: PortOutline | null): string[] =>
  (outline?.addresses ?? []).map((address) => addressKey(outline!.networkId, address));

export const addressProjection: Projection<AddressRow> = {
  table: addressTable,
  keys: (event) => {
    const change = outlinesOf(event);
    return change ? [...new Set([...addressKeys(change.before), ...addressKeys(change.after)])] : [];
  },
  evolve: (row, event, key) => {
    const { portId, after } = outlinesOf(event)!;
    if (addressKeys(after).includes(key)) return row?.portId === portId ? row : { portId };
    // An address may have gone to another port by the time its last one says that it has left.
    return row?.portId === portId ? undefined : row;
  },
};
