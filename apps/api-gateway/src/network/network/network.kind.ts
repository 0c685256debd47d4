import { type Kind, moment, ownOrAll } from '../common/collection.js';
import { networkNotFound } from '../common/errors.js';
import { subnetTable } from '../subnet/subnet.projection.js';
import { type NetworkRow, networkTable } from './network.projection.js';

export const networkTarget = (row: NetworkRow) => ({
  project_id: row.projectId,
  tenant_id: row.projectId,
  shared: row.shared,
  'router:external': row.external,
});

export const networkKind: Kind<NetworkRow> = {
  singular: 'network',
  plural: 'networks',
  table: networkTable,
  notFound: networkNotFound,
  candidates: async (rows, call) => {
    const own = await ownOrAll(networkTable, rows, call);
    if (call.isAdmin) return own;
    const shared = await rows.find(networkTable, { where: { shared: true } });
    const external = await rows.find(networkTable, { where: { external: true } });
    return [...new Map([...own, ...shared, ...external].map((n) => [n.id, n])).values()];
  },
  target: async (_, row) => networkTarget(row),
  view: async (rows, row) => {
    const subnets = await rows.find(subnetTable, { where: { networkId: row.id } });
    const a = row.attributes;
    return {
      id: row.id,
      name: a.name,
      tenant_id: row.projectId,
      project_id: row.projectId,
      admin_state_up: a.adminUp,
      mtu: a.mtu,
      status: a.adminUp ? 'ACTIVE' : 'DOWN',
      subnets: subnets.map((s) => s.id),
      shared: a.shared,
      availability_zone_hints: a.availabilityZoneHints,
      availability_zones: ['nova'],
      ipv4_address_scope: null,
      ipv6_address_scope: null,
      'router:external': a.external,
      is_default: a.isDefault,
      port_security_enabled: a.portSecurity,
      description: a.description,
      'provider:network_type': a.provider?.networkType ?? 'local',
      'provider:physical_network': a.provider?.physicalNetwork ?? null,
      'provider:segmentation_id': a.provider?.segmentationId ?? null,
      tags: row.tags,
      created_at: moment(row.createdAt),
      updated_at: moment(row.updatedAt),
      revision_number: row.revision,
    };
  },
  guarded: {
    'provider:network_type': 'get_network:provider:network_type',
    'provider:physical_network': 'get_network:provider:physical_network',
    'provider:segmentation_id': 'get_network:provider:segmentation_id',
  },
};
