import { Controller } from '@nestjs/common';
import { notFound, type ServerPort } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../../core/gateway-core.js';
import { serverOf } from '../../common/access.js';
import { strictFrom } from '../../common/versions.js';
import { ComputeNetwork } from '../../compute-ports.js';
import type { ServerRow } from '../view/server.projection.js';
import { addressesOf } from '../view/server.view.js';

const compute = 'compute' as const;

/** What a server has of the network, for reading. */
@Controller()
export class ServerNetworkController {
  constructor(
    private readonly core: GatewayCore,
    private readonly network: ComputeNetwork,
  ) {}

  @Operation({ service: compute, method: 'GET', path: '/v2.1/servers/:id/ips', policy: 'os_compute_api:ips:index' })
  async addresses(call: Call) {
    const row = await serverOf(call, await this.core.fresh(), call.params.id!, 'os_compute_api:ips:index');
    return { addresses: addressesOf(row, false) };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/:id/ips/:network',
    policy: 'os_compute_api:ips:show',
  })
  async address(call: Call) {
    const row = await serverOf(call, await this.core.fresh(), call.params.id!, 'os_compute_api:ips:show');
    const name = call.params.network!;
    const all = addressesOf(row, false);
    if (!Object.hasOwn(all, name)) throw notFound('Instance is not a member of specified network');
    return { [name]: all[name] };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/:id/os-interface',
    policy: 'os_compute_api:os-attach-interfaces:list',
  })
  async interfaces(call: Call) {
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, call.params.id!, 'os_compute_api:os-attach-interfaces:list');
    const ports = row.ports ?? [];
    const states = await this.network.portStates(rows, ports);
    return { interfaceAttachments: ports.map((p) => interfaceView(call, p, stateOf(row, p, states))) };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/:id/os-interface/:port',
    policy: 'os_compute_api:os-attach-interfaces:show',
  })
  async interface(call: Call) {
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, call.params.id!, 'os_compute_api:os-attach-interfaces:show');
    const port = row.ports?.find((p) => p.portId === call.params.port);
    if (!port) throw notFound(`Instance ${row.id} does not have a port with id ${call.params.port!.slice(0, 255)}`);
    const states = await this.network.portStates(rows, [port]);
    return { interfaceAttachment: interfaceView(call, port, stateOf(row, port, states)) };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/:id/os-security-groups',
    policy: 'os_compute_api:os-security-groups:list',
  })
  async securityGroups(call: Call) {
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, call.params.id!, 'os_compute_api:os-security-groups:list');
    const groups = await this.network.groupsOf(rows, [row]);
    return { security_groups: await this.network.groupDetails(rows, groups.get(row.id) ?? []) };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/:id/os-volume_attachments',
    policy: 'os_compute_api:os-volumes-attachments:index',
    query: strictFrom('2.75'),
  })
  async volumes(call: Call) {
    await serverOf(call, await this.core.fresh(), call.params.id!, 'os_compute_api:os-volumes-attachments:index');
    return { volumeAttachments: [] };
  }
}

/** A port that the guest does not have yet is down, whatever its network says. */
const stateOf = (row: ServerRow, { portId }: ServerPort, states: ReadonlyMap<string, string>) =>
  row.interfaces?.some((i) => i.portId === portId && i.change === 'attach') ? 'DOWN' : states.get(portId);

/** An interface as `os-interface` shows it. */
export const interfaceView = (call: Call, port: ServerPort, state = 'DOWN') => ({
  net_id: port.networkId,
  port_id: port.portId,
  mac_addr: port.mac,
  port_state: state,
  fixed_ips: port.fixedIps.map((ip) => ({ subnet_id: ip.subnetId, ip_address: ip.address })),
  ...(call.since('2.70') ? { tag: port.tag } : {}),
});
