import type { RowReader } from '@omnivisor/eventsourcing';
import { type Kind, moment, ownOrAll } from '../common/collection.js';
import { subnetNotFound } from '../common/errors.js';
import { networkKind } from '../network/network.kind.js';
import { networkTable } from '../network/network.projection.js';
import { type SubnetRow, subnetTable } from './subnet.projection.js';

const target = async (rows: RowReader, row: SubnetRow) => {
  const network = await rows.get(networkTable, row.networkId);
  return {
    project_id: row.projectId,
    tenant_id: row.projectId,
    'network:project_id': network?.projectId,
    'network:tenant_id': network?.projectId,
    shared: network?.shared ?? false,
    'router:external': network?.external ?? false,
  };
};

export const subnetKind: Kind<SubnetRow> = {
  singular: 'subnet',
  plural: 'subnets',
  table: subnetTable,
  notFound: subnetNotFound,
  candidates: async (rows, call) => {
    const own = await ownOrAll(subnetTable, rows, call);
    if (call.isAdmin) return own;
    // An external network is seen by everybody, its subnets are not.
    const networks = (await networkKind.candidates(rows, call))
      .filter((n) => n.shared || n.projectId === call.token.projectId)
      .map((n) => n.id as string);
    const others = await rows.find(subnetTable, { where: { networkId: { in: networks } } });
    return [...new Map([...own, ...others].map((s) => [s.id, s])).values()];
  },
  target,
  view: async (rows, row) => {
    const a = row.attributes;
    const network = await rows.get(networkTable, row.networkId);
    return {
      id: row.id,
      name: a.name,
      tenant_id: row.projectId,
      project_id: row.projectId,
      network_id: row.networkId,
      ip_version: row.version,
      subnetpool_id: null,
      enable_dhcp: a.dhcp,
      ipv6_ra_mode: row.ipv6RaMode,
      ipv6_address_mode: row.ipv6AddressMode,
      gateway_ip: a.gateway,
      cidr: row.cidr,
      allocation_pools: a.allocationPools,
      host_routes: a.hostRoutes,
      dns_nameservers: a.dnsNameservers,
      description: a.description,
      service_types: a.serviceTypes,
      'router:external': network?.external ?? false,
      tags: row.tags,
      created_at: moment(row.createdAt),
      updated_at: moment(row.updatedAt),
      revision_number: row.revision,
    };
  },
};
