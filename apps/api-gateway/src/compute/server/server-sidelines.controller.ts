import { Controller } from '@nestjs/common';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf } from '../common/access.js';
import { strictFrom } from '../common/versions.js';

const service = 'compute' as const;
const server = '/v2.1/servers/:id';
const password = (name: string) => `os_compute_api:os-server-password:${name}`;
const topology = 'compute:server:topology:index';

/** What belongs to a server and nothing has yet: a password that its guest set, a NUMA topology. */
@Controller()
export class ServerSidelinesController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({
    service,
    method: 'GET',
    path: `${server}/os-server-password`,
    policy: password('show'),
    query: strictFrom('2.102'),
  })
  async password(call: Call) {
    await this.server(call, password('show'));
    return { password: '' };
  }

  @Operation({
    service,
    method: 'DELETE',
    path: `${server}/os-server-password`,
    policy: password('clear'),
    status: 204,
  })
  async clearPassword(call: Call) {
    await this.server(call, password('clear'));
  }

  @Operation({
    service,
    method: 'GET',
    path: `${server}/topology`,
    versions: ['2.78'],
    policy: topology,
    query: strictFrom('2.102'),
  })
  async topology(call: Call) {
    await this.server(call, topology);
    return { nodes: [], pagesize_kb: null };
  }

  private async server(call: Call, rule: string) {
    return serverOf(call, await this.core.fresh(), call.params.id!, rule);
  }
}
