import { Controller } from '@nestjs/common';
import { notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverTable } from '../server/view/server.projection.js';
import { schedulingTable } from './scheduling.projection.js';
import { schedulingView } from './scheduling.view.js';

/**
 * Why a server is where it is, or nowhere; an extension of ours. Readable as long as the log is, also after the server's
 * deletion.
 */
@Controller()
export class SchedulingController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({
    service: 'compute',
    method: 'GET',
    path: '/v2.1/servers/:id/os-omnivisor-scheduling',
    policy: 'os_compute_api:servers:show',
  })
  async show(call: Call) {
    const rows = await this.core.fresh();
    const id = call.params.id ?? '';
    const server = await rows.get(serverTable, id);
    if (!server || (!call.isAdmin && server.projectId !== call.token.projectId))
      throw notFound(`Instance ${id} could not be found.`);
    const decisions = await rows.find(schedulingTable, { where: { serverId: id }, orderBy: [['attempt', 'asc']] });
    return { scheduling: decisions.map((d) => schedulingView(d, call.isAdmin)) };
  }
}
