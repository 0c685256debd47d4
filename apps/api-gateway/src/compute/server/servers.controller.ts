import { Controller } from '@nestjs/common';
import { invalid } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf, targetOf } from '../common/access.js';
import { jsonList } from '../common/json-list.js';
import { linksOf, nextLink } from '../common/paging.js';
import { strictFrom } from '../common/versions.js';
import { ServerCreation } from './create/server-create.js';
import { newPassword } from './create/server-password.js';
import { type ServerCommand, serverAggregate } from './lifecycle/server-lifecycle.js';
import {
  type CreateServerBody,
  createServer,
  listServersQuery,
  type UpdateServerBody,
  updateServer,
} from './server.schema.js';
import {
  type ServerViewContext,
  serverBrief,
  serverDetailView,
  serverShowView,
  serverUpdateView,
} from './view/server.view.js';
import { listServers } from './view/server-list.js';
import { ServerPresenter } from './view/server-presenter.js';

const compute = 'compute' as const;
@Controller()
export class ServersController {
  constructor(
    private readonly core: GatewayCore,
    private readonly creation: ServerCreation,
    private readonly presenter: ServerPresenter,
  ) {}

  @Operation({
    service: compute,
    method: 'POST',
    path: '/v2.1/servers',
    policy: 'os_compute_api:servers:create',
    body: createServer,
    status: 202,
  })
  async create(call: Call) {
    const { server } = call.body as CreateServerBody;
    const created = await this.creation.create(call);
    const id = created.ids[0]!;
    const links = linksOf(call.publicUrl, 'servers', id);
    const headers = { location: links[0]!.href };
    if (server.return_reservation_id) return new Reply({ reservation_id: created.reservationId }, { headers });
    return new Reply(
      {
        server: {
          id,
          links,
          'OS-DCF:diskConfig': created.diskConfig,
          security_groups: server.security_groups ?? [{ name: 'default' }],
          adminPass: server.adminPass ?? newPassword(),
        },
      },
      { headers },
    );
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers',
    policy: 'os_compute_api:servers:index',
    query: listServersQuery,
  })
  async list(call: Call) {
    const page = [...(await listServers(call, await this.core.freshFor(call), false))];
    return {
      servers: page.map((row) => serverBrief(row, call.publicUrl)),
      ...nextLink(call, 'servers', page, page.at(-1)?.id),
    };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/detail',
    policy: 'os_compute_api:servers:detail',
    query: listServersQuery,
  })
  async detail(call: Call) {
    const rows = await this.core.freshFor(call);
    let context: ServerViewContext | undefined;
    return jsonList(await listServers(call, rows, true), {
      name: 'servers',
      render: async (servers) => {
        const known = await this.presenter.context(call, rows, servers, false, context);
        context = known;
        return servers.map((server) => serverDetailView.render(call.version, server, known));
      },
      rest: (length, last) => nextLink(call, 'servers', { length }, last?.id),
    });
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/:id',
    policy: 'os_compute_api:servers:show',
    query: strictFrom('2.102'),
  })
  async show(call: Call) {
    const rows = await this.core.freshFor(call);
    const row = await serverOf(call, rows, call.params.id!, 'os_compute_api:servers:show');
    const context = await this.presenter.context(call, rows, [row], true);
    return { server: serverShowView.render(call.version, row, context) };
  }

  @Operation({
    service: compute,
    method: 'PUT',
    path: '/v2.1/servers/:id',
    policy: 'os_compute_api:servers:update',
    body: updateServer,
  })
  async update(call: Call) {
    const { server: wanted } = call.body as UpdateServerBody;
    const before = await serverOf(call, await this.core.fresh(), call.params.id!, 'os_compute_api:servers:update');
    const serverId = before.id;
    const asAdmin = true; // An update passes a lock, as Nova's does.
    const changes = {
      ...(wanted.accessIPv4 === undefined ? {} : { accessIpV4: wanted.accessIPv4 }),
      ...(wanted.accessIPv6 === undefined ? {} : { accessIpV6: wanted.accessIPv6 }),
      ...(wanted['OS-DCF:diskConfig'] === undefined ? {} : { diskConfig: wanted['OS-DCF:diskConfig'] }),
    };
    const commands: ServerCommand[] = [];
    if (wanted.name !== undefined) commands.push({ type: 'rename', serverId, name: wanted.name.trim(), asAdmin });
    if (wanted.description !== undefined)
      commands.push({ type: 'describe', serverId, description: wanted.description, asAdmin });
    if (wanted.hostname !== undefined)
      commands.push({ type: 'setHostname', serverId, hostname: wanted.hostname, asAdmin });
    if (Object.keys(changes).length > 0) commands.push({ type: 'present', serverId, changes, asAdmin });
    if (wanted.pinned_availability_zone !== undefined) {
      const zone = wanted.pinned_availability_zone;
      if (zone !== null && before.availabilityZone !== null && zone !== before.availabilityZone)
        throw invalid(
          `Server ${serverId} runs in availability zone ${before.availabilityZone}: it can only be pinned to that one.`,
        );
      commands.push({ type: 'pinZone', serverId, availabilityZone: zone, asAdmin });
    }
    for (const command of commands)
      await this.core.commands.execute(serverAggregate, serverId, command, call.context(command.type));
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, serverId, 'os_compute_api:servers:update');
    const context = await this.presenter.context(call, rows, [row], true);
    return { server: serverUpdateView.render(call.version, row, context) };
  }

  @Operation({
    service: compute,
    method: 'DELETE',
    path: '/v2.1/servers/:id',
    policy: 'os_compute_api:servers:delete',
    status: 204,
  })
  async remove(call: Call) {
    const row = await serverOf(call, await this.core.fresh(), call.params.id!, 'os_compute_api:servers:delete');
    call.enforce('os_compute_api:servers:delete', targetOf(row));
    await this.core.commands.execute(
      serverAggregate,
      row.id,
      { type: 'delete', serverId: row.id, asAdmin: call.isAdmin, now: this.core.clock.now() },
      call.context(),
    );
  }
}
