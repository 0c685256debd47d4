import { type NetworkNeed, networkNeeds as needs, type PortId, physicalNetworkNeed } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { settled } from '../../core/settled.js';
import { type NetworkRow, networkTable } from '../network/network.projection.js';
import { protocolNumber } from '../security-group/rules.js';
import { type SecurityGroupRow, securityGroupTable } from '../security-group/security-group.projection.js';
import { subnetTable } from '../subnet/subnet.projection.js';
import { type PortRow, portTable } from './port.projection.js';

/** A port that is there, maybe with other groups, or one that will be made on a network with these groups. */
export type NeedyPort =
  | { readonly portId: PortId | string; readonly securityGroups?: readonly string[] }
  | {
      readonly portId: null;
      readonly networkId: string;
      readonly securityGroups: readonly string[];
      /** Without port security, whatever its network says. */
      readonly isOpen: boolean;
    };

type Family = 'IPv4' | 'IPv6';
const familyOf = (address: string): Family => (address.includes(':') ? 'IPv6' : 'IPv4');

const letsAllPass = (groups: readonly SecurityGroupRow[], direction: 'ingress' | 'egress', family: Family): boolean =>
  groups.some(({ rules }) =>
    rules.some(
      (rule) =>
        rule.direction === direction &&
        rule.ethertype === family &&
        rule.remoteGroup === null &&
        protocolNumber(rule.protocol) === null &&
        rule.portMin === null &&
        rule.portMax === null &&
        (rule.remotePrefix === null || rule.remotePrefix.endsWith('/0')),
    ),
  );

/** What a guarded port asks of its host beside the way to its network. */
const guardNeeds = (
  families: ReadonlySet<Family>,
  groups: readonly SecurityGroupRow[],
  port: Pick<PortRow['attributes'], 'mac' | 'allowedAddressPairs'> | undefined,
): NetworkNeed[] => {
  const pairs = port?.allowedAddressPairs ?? [];
  const isOpen = [...families].every((f) => letsAllPass(groups, 'ingress', f) && letsAllPass(groups, 'egress', f));
  const isOther = (mac: string | null) => mac !== null && mac.toLowerCase() !== port?.mac.toLowerCase();
  return [
    needs.antiSpoofing,
    ...(families.has('IPv6') ? [needs.guardedIpv6] : []),
    ...(isOpen ? [] : [needs.securityGroups]),
    ...(pairs.some(({ mac }) => isOther(mac)) ? [needs.otherMacs] : []),
    ...(pairs.some(({ address }) => address.includes('/') && !/\/(32|128)$/.test(address)) ? [needs.prefixes] : []),
  ];
};

const wayTo = ({ attributes: { provider } }: NetworkRow): NetworkNeed =>
  provider ? physicalNetworkNeed(provider.physicalNetwork) : needs.local;

/** What ports ask of the host of their server, each need once. */
export const needsOf = async (rows: RowReader, wanted: readonly NeedyPort[]): Promise<NetworkNeed[]> => {
  const made = await rows.getMany(
    portTable,
    wanted.flatMap(({ portId }) => portId ?? []),
  );
  const networkIdOf = (port: NeedyPort) =>
    port.portId === null ? port.networkId : (made.get(port.portId)?.networkId ?? '');
  const groupsOf = (port: NeedyPort): readonly string[] =>
    port.securityGroups ?? made.get(port.portId ?? '')?.securityGroups ?? [];
  const networkIds = [...new Set(wanted.map(networkIdOf))];
  const [networks, subnets, groups] = await settled([
    rows.getMany(networkTable, networkIds),
    networkIds.length === 0 ? [] : rows.find(subnetTable, { where: { networkId: { in: networkIds } } }),
    rows.getMany(securityGroupTable, [...new Set(wanted.flatMap(groupsOf))]),
  ]);
  const found = wanted.flatMap((port): NetworkNeed[] => {
    const network = networks.get(networkIdOf(port));
    if (!network) return [];
    const row = port.portId === null ? null : made.get(port.portId)!;
    const isOpen = port.portId === null && port.isOpen;
    if (isOpen || !(row?.attributes ?? network.attributes).portSecurity) return [wayTo(network)];
    const families = row
      ? row.attributes.fixedIps.map(({ address }) => familyOf(address))
      : subnets.filter((s) => s.networkId === network.id).map((s): Family => (s.version === 4 ? 'IPv4' : 'IPv6'));
    const its = groupsOf(port).flatMap((id) => groups.get(id) ?? []);
    return [wayTo(network), ...guardNeeds(new Set(families), its, row?.attributes)];
  });
  return [...new Map(found.map((need) => [need.trait, need])).values()];
};
