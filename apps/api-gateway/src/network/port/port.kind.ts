import type { RowReader } from '@omnivisor/eventsourcing';
import { type Kind, moment, ownOrAll } from '../common/collection.js';
import { portNotFound } from '../common/errors.js';
import { networkTable } from '../network/network.projection.js';
import { type PortRow, portTable } from './port.projection.js';

export const portTarget = async (rows: RowReader, row: Pick<PortRow, 'networkId' | 'projectId'>) => {
  const network = await rows.get(networkTable, row.networkId);
  return {
    project_id: row.projectId,
    tenant_id: row.projectId,
    'network:project_id': network?.projectId,
    'network:tenant_id': network?.projectId,
    shared: network?.shared ?? false,
  };
};

/** ACTIVE while the port is on a host and switched on. */
export const portStatus = (row: Pick<PortRow, 'host' | 'attributes'>): string =>
  row.host !== null && row.attributes.adminUp ? 'ACTIVE' : 'DOWN';

export const portKind: Kind<PortRow> = {
  singular: 'port',
  plural: 'ports',
  table: portTable,
  notFound: portNotFound,
  candidates: async (rows, call) => {
    const device = call.query.device_id?.length === 1 ? call.query.device_id[0] : undefined;
    if (device) return rows.find(portTable, { where: { deviceId: device } });
    const own = await ownOrAll(portTable, rows, call);
    if (call.isAdmin) return own;
    const networks = await rows.find(networkTable, { where: { projectId: call.token.projectId ?? '' } });
    const others = await rows.find(portTable, { where: { networkId: { in: networks.map((n) => n.id) } } });
    return [...new Map([...own, ...others].map((p) => [p.id, p])).values()];
  },
  target: portTarget,
  view: async (_, row) => {
    const a = row.attributes;
    const host = row.host?.name ?? a.bindingHost;
    return {
      id: row.id,
      name: a.name,
      network_id: row.networkId,
      tenant_id: row.projectId,
      project_id: row.projectId,
      mac_address: a.mac,
      admin_state_up: a.adminUp,
      status: portStatus(row),
      device_id: a.deviceId,
      device_owner: a.deviceOwner,
      fixed_ips: a.fixedIps.map((ip) => ({ subnet_id: ip.subnetId, ip_address: ip.address })),
      allowed_address_pairs: a.allowedAddressPairs.map((p) => ({
        mac_address: p.mac ?? a.mac,
        ip_address: p.address,
      })),
      extra_dhcp_opts: a.extraDhcpOptions.map((o) => ({
        opt_name: o.name,
        opt_value: o.value,
        ip_version: o.version,
      })),
      security_groups: a.securityGroups,
      description: a.description,
      port_security_enabled: a.portSecurity,
      'binding:vnic_type': a.vnicType,
      'binding:profile': a.bindingProfile,
      'binding:host_id': host,
      'binding:vif_type': host === '' ? 'unbound' : 'bridge',
      'binding:vif_details': host === '' ? {} : { port_filter: true },
      tags: row.tags,
      created_at: moment(row.createdAt),
      updated_at: moment(row.updatedAt),
      revision_number: row.revision,
    };
  },
  guarded: {
    'binding:profile': 'get_port:binding:profile',
    'binding:host_id': 'get_port:binding:host_id',
    'binding:vif_type': 'get_port:binding:vif_type',
    'binding:vif_details': 'get_port:binding:vif_details',
  },
};
