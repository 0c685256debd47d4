import type { NetworkEvent, PortEvent, RecordedEvent, SecurityGroupEvent, SubnetEvent } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { outlinesOf, portHostTable } from './port/port-outlines.projection.js';
import { securityGroupRuleTable } from './security-group/security-group.projection.js';
import { subnetTable } from './subnet/subnet.projection.js';

/** Hosts with ports of these networks or security groups. */
export const hostsOf = async (rows: RowReader, of: readonly string[]): Promise<string[]> => {
  if (of.length === 0) return [];
  const found = await rows.find(portHostTable, { where: { of: { in: [...of] } } });
  return [...new Set(found.map((row) => row.hostId))];
};

/** Hosts of the ports whose rules name the members of these groups. */
export const hostsThatTrust = async (rows: RowReader, groups: readonly string[]): Promise<string[]> => {
  const rules = await rows.find(securityGroupRuleTable, { where: { remoteGroup: { in: [...groups] } } });
  return hostsOf(rows, [...new Set(rules.map((rule) => rule.securityGroupId as string))]);
};

/** Security groups whose members, or their addresses, an event changes. */
export const regroupedBy = (recorded: RecordedEvent): string[] => {
  const change = outlinesOf(recorded);
  if (!change) return [];
  const { before, after } = change;
  const same = (field: 'addresses' | 'securityGroups') => before?.[field].join() === after?.[field].join();
  if (same('addresses') && same('securityGroups')) return [];
  return [...new Set([...(before?.securityGroups ?? []), ...(after?.securityGroups ?? [])])];
};

/** Hosts that an event of the network concerns, but for members of groups; none for events of others. */
export const hostsTouchedBy = async (recorded: RecordedEvent, rows: RowReader): Promise<string[]> => {
  const event = recorded as unknown as PortEvent | NetworkEvent | SubnetEvent | SecurityGroupEvent;
  switch (event.type) {
    case 'PortChanged':
    case 'PortAttached':
    case 'PortDetached':
      return event.data.before.hostId === null ? [] : [event.data.before.hostId];
    case 'NetworkChanged':
    case 'SubnetCreated':
      return hostsOf(rows, [event.data.networkId]);
    case 'SubnetChanged': {
      const subnet = await rows.get(subnetTable, event.data.subnetId);
      return subnet ? hostsOf(rows, [subnet.networkId]) : [];
    }
    case 'SecurityGroupRuleAdded':
    case 'SecurityGroupRuleRemoved':
    case 'SecurityGroupDeleted':
      return hostsOf(rows, [event.data.securityGroupId]);
    default:
      return [];
  }
};
