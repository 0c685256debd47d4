import type { hostBus } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { settled } from '../../core/settled.js';
import { subnetTable } from '../subnet/subnet.projection.js';
import { networkTable } from './network.projection.js';

/** Networks as a machine builds them, in order of id. */
export const networkPlans = async (rows: RowReader, networkIds: readonly string[]): Promise<hostBus.NetworkPlan[]> => {
  const ids = [...new Set(networkIds)].sort();
  if (ids.length === 0) return [];
  const [networks, subnets] = await settled([
    rows.getMany(networkTable, ids),
    rows.find(subnetTable, { where: { networkId: { in: ids } } }),
  ]);
  return ids.flatMap((id) => {
    const network = networks.get(id);
    if (!network) return [];
    const { provider } = network.attributes;
    return [
      {
        networkId: network.id,
        projectId: network.projectId,
        mtu: network.attributes.mtu,
        ...(provider ? { provider } : {}),
        subnets: subnets
          .filter((s) => s.networkId === id)
          .map((s) => {
            const { gateway, dhcp, dnsNameservers, hostRoutes, serviceAddress } = s.attributes;
            return {
              subnetId: s.id,
              version: s.version,
              cidr: s.cidr,
              gateway,
              // Gateway, DHCP and advertisements of a physical network are somebody else's.
              dhcp: dhcp && !provider,
              serviceAddress: provider ? null : (gateway ?? serviceAddress),
              ipv6AddressMode: s.ipv6AddressMode,
              ipv6RaMode: provider ? null : s.ipv6RaMode,
              dnsNameservers,
              hostRoutes,
            };
          }),
      },
    ];
  });
};
