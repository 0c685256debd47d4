import { Controller } from '@nestjs/common';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { parseAddress } from '../common/addresses.js';
import { networkNotFound, neutronError } from '../common/errors.js';
import { type NetworkRow, networkTable } from '../network/network.projection.js';
import { portTable } from '../port/port.projection.js';
import { subnetTable } from '../subnet/subnet.projection.js';
import { extensions } from './extensions.js';

/** What clients ask about the network service itself. */
@Controller()
export class NetworkExtrasController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/extensions', policy: 'authenticated' })
  extensions() {
    return { extensions };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/extensions/:alias', policy: 'authenticated' })
  extension(call: Call) {
    const { alias } = call.params;
    const extension = extensions.find((e) => e.alias === alias);
    if (!extension)
      throw neutronError('notFound', 'HTTPNotFound', `Extension with alias ${alias?.slice(0, 100)} does not exist`);
    return { extension };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/availability_zones', policy: 'get_availability_zone' })
  zones() {
    return { availability_zones: [{ name: 'nova', resource: 'network', state: 'available' }] };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/agents', policy: 'authenticated' })
  agents() {
    return { agents: [] };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/service-providers', policy: 'authenticated' })
  providers() {
    return { service_providers: [] };
  }

  @Operation({
    service: 'network',
    method: 'GET',
    path: '/v2.0/network-ip-availabilities',
    policy: 'get_network_ip_availability',
  })
  async availabilities(call: Call) {
    const rows = await this.core.fresh();
    const wanted = { id: call.query.network_id, name: call.query.network_name };
    const networks = (await rows.find(networkTable)).filter(
      (n) => (!wanted.id || wanted.id.includes(n.id)) && (!wanted.name || wanted.name.includes(n.name)),
    );
    const views = [];
    for (const network of networks) views.push(await availability(rows, network));
    return { network_ip_availabilities: views };
  }

  @Operation({
    service: 'network',
    method: 'GET',
    path: '/v2.0/network-ip-availabilities/:id',
    policy: 'get_network_ip_availability',
  })
  async availability(call: Call) {
    const rows = await this.core.fresh();
    const network = await rows.get(networkTable, call.params.id ?? '');
    if (!network) throw networkNotFound(call.params.id ?? '');
    return { network_ip_availability: await availability(rows, network) };
  }
}

const availability = async (rows: RowReader, network: NetworkRow) => {
  const subnets = await rows.find(subnetTable, { where: { networkId: network.id } });
  const ports = await rows.find(portTable, { where: { networkId: network.id } });
  const used = (subnetId: string) =>
    ports.flatMap((p) => p.attributes.fixedIps).filter((ip) => ip.subnetId === subnetId).length;
  const views = subnets.map((s) => ({
    subnet_id: s.id,
    subnet_name: s.attributes.name,
    ip_version: s.version,
    cidr: s.cidr,
    total_ips: s.attributes.allocationPools.reduce(
      (sum, p) => sum + Number(parseAddress(p.end)!.value - parseAddress(p.start)!.value + 1n),
      0,
    ),
    used_ips: used(s.id),
  }));
  return {
    network_id: network.id,
    network_name: network.name,
    tenant_id: network.projectId,
    project_id: network.projectId,
    total_ips: views.reduce((sum, v) => sum + v.total_ips, 0),
    used_ips: views.reduce((sum, v) => sum + v.used_ips, 0),
    subnet_ip_availability: views,
  };
};
