import type {
  AddressPoolEvent,
  CommandContext,
  NetworkEvent,
  NetworkId,
  NetworkQuotaEvent,
  PhysicalNetworkEvent,
  PortEvent,
  PortId,
  ProjectId,
  SecurityGroupEvent,
  SecurityGroupId,
  SecurityGroupRuleId,
  SubnetEvent,
  SubnetId,
} from '@omnivisor/contracts';
import type { GatewayCore } from '../core/gateway-core.js';
import { settled } from '../core/settled.js';
import type { Reading, Readings, ReservationKind, ReservationRow } from '../reservation/reservation.js';
import { addressPool } from './address-pool/address-pool.js';
import { step } from './common/context.js';
import { network } from './network/network.js';
import { port } from './port/port.js';
import { networkQuota, type QuotaResource } from './quota/network-quota.js';
import { securityGroup } from './security-group/security-group.js';
import { segments } from './segment/segments.js';
import { subnet } from './subnet/subnet.js';

type Relevant =
  | PhysicalNetworkEvent
  | NetworkQuotaEvent
  | AddressPoolEvent
  | NetworkEvent
  | SubnetEvent
  | PortEvent
  | SecurityGroupEvent;

const owners = (kind: QuotaResource, ids: readonly string[], owner: 'there' | 'gone'): Reading[] =>
  ids.map((id) => ({ kind, id, owner }));

export const networkReadings: Readings = (recorded) => {
  const event = recorded as unknown as Relevant;
  switch (event.type) {
    case 'NetworkQuotaTaken': {
      const { projectId, resource: kind, ids, parent } = event.data;
      return ids.map((id) => ({ kind, id, takes: 'quota', of: projectId, projectId, parent }));
    }
    case 'NetworkQuotaReturned':
      return event.data.ids.map((id) => ({ kind: event.data.resource, id, gives: 'quota' }));
    case 'AddressesAllocated': {
      const { portId: id, networkId: of, projectId } = event.data;
      return [{ kind: 'port', id, takes: 'addresses', of, projectId }];
    }
    case 'AddressesReleased':
      return [{ kind: 'port', id: event.data.portId, gives: 'addresses' }];
    case 'AddressRangeAdded':
      return [{ kind: 'subnet', id: event.data.range.subnetId, takes: 'range', of: event.data.networkId }];
    case 'AddressRangeRemoved':
      return [{ kind: 'subnet', id: event.data.subnetId, gives: 'range' }];
    case 'SegmentTaken': {
      const { networkId: id, segment } = event.data;
      return [{ kind: 'network', id, takes: 'segment', of: segment.physicalNetwork }];
    }
    case 'SegmentReturned':
      return [{ kind: 'network', id: event.data.networkId, gives: 'segment' }];
    case 'NetworkCreated':
      return owners('network', [event.data.networkId], 'there');
    case 'NetworkCreateAbandoned':
    case 'NetworkDeleted':
      return owners('network', [event.data.networkId], 'gone');
    case 'SubnetCreated':
      return owners('subnet', [event.data.subnetId], 'there');
    case 'SubnetCreateAbandoned':
    case 'SubnetDeleted':
      return owners('subnet', [event.data.subnetId], 'gone');
    case 'PortCreated':
      return owners('port', [event.data.portId], 'there');
    case 'PortCreateAbandoned':
    case 'PortDeleted':
      return owners('port', [event.data.portId], 'gone');
    case 'SecurityGroupCreated':
      return owners('security_group', [event.data.securityGroupId], 'there');
    case 'SecurityGroupCreateAbandoned':
      return owners('security_group', [event.data.securityGroupId], 'gone');
    case 'SecurityGroupDeleted':
      return [
        ...owners('security_group', [event.data.securityGroupId], 'gone'),
        ...owners('security_group_rule', event.data.ruleIds, 'gone'),
      ];
    case 'SecurityGroupRuleAdded':
      return owners('security_group_rule', [event.data.rule.id], 'there');
    case 'SecurityGroupRuleAbandoned':
    case 'SecurityGroupRuleRemoved':
      return owners('security_group_rule', [event.data.ruleId], 'gone');
    default:
      return [];
  }
};

/** Gives back quota, addresses and ranges, as far as they are held. */
const giveBack = async (
  { commands }: GatewayCore,
  { kind, id, holds }: ReservationRow,
  context: CommandContext,
): Promise<void> => {
  const { quota, addresses, range, segment } = holds;
  const back: Promise<unknown>[] = [];
  if (quota !== undefined) {
    const command = { projectId: quota as ProjectId, resource: kind as QuotaResource, ids: [id] };
    back.push(commands.execute(networkQuota, quota, { type: 'giveBack', ...command }, step(context, 'quota')));
  }
  if (addresses !== undefined) {
    const command = { networkId: addresses as NetworkId, portId: id as PortId };
    back.push(commands.execute(addressPool, addresses, { type: 'release', ...command }, step(context, 'addresses')));
  }
  if (range !== undefined) {
    const command = { networkId: range as NetworkId, subnetId: id as SubnetId };
    back.push(commands.execute(addressPool, range, { type: 'removeRange', ...command }, step(context, 'range')));
  }
  if (segment !== undefined) {
    const command = { networkId: id as NetworkId, physicalNetwork: segment };
    back.push(commands.execute(segments, segment, { type: 'giveBack', ...command }, step(context, 'segment')));
  }
  await settled(back);
};

const kind = (
  bar: (commands: GatewayCore['commands'], row: ReservationRow, context: CommandContext) => Promise<boolean>,
): ReservationKind => ({ giveBack, bar: ({ commands }, row, context) => bar(commands, row, context) });

/** What takes of the network quota. */
export const networkReservations: Readonly<Record<QuotaResource, ReservationKind>> = {
  network: kind(async (commands, { id }, context) => {
    const { state } = await commands.execute(network, id, { type: 'abandon', networkId: id as NetworkId }, context);
    return state.id === null;
  }),
  subnet: kind(async (commands, { id }, context) => {
    const { state } = await commands.execute(subnet, id, { type: 'abandon', subnetId: id as SubnetId }, context);
    return state.id === null;
  }),
  port: kind(async (commands, { id }, context) => {
    const { state } = await commands.execute(port, id, { type: 'abandon', portId: id as PortId }, context);
    return state.id === null;
  }),
  security_group: kind(async (commands, { id }, context) => {
    const command = { type: 'abandon', securityGroupId: id as SecurityGroupId } as const;
    const { state } = await commands.execute(securityGroup, id, command, context);
    return state.id === null;
  }),
  security_group_rule: kind(async (commands, { id, parent }, context) => {
    const ids = { securityGroupId: parent as SecurityGroupId, ruleId: id as SecurityGroupRuleId };
    const { state } = await commands.execute(
      securityGroup,
      ids.securityGroupId,
      { type: 'abandonRule', ...ids },
      context,
    );
    return !state.rules.some((rule) => rule.id === id);
  }),
};
