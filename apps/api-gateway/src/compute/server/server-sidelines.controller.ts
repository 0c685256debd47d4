import { Controller } from '@nestjs/common';
import { invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf } from '../common/access.js';
import { strictFrom } from '../common/versions.js';

const service = 'compute' as const;
const server = '/v2.1/servers/:id';
const migration = (name: string) => `os_compute_api:servers:migrations:${name}`;
const password = (name: string) => `os_compute_api:os-server-password:${name}`;
const topology = 'compute:server:topology:index';

/** What belongs to a server and nothing has yet: migrations, a password that its guest set, a NUMA topology. */
@Controller()
export class ServerSidelinesController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({
    service,
    method: 'GET',
    path: `${server}/migrations`,
    versions: ['2.23'],
    policy: migration('index'),
    query: strictFrom('2.102'),
  })
  async migrations(call: Call) {
    await this.server(call, migration('index'));
    return { migrations: [] };
  }

  @Operation({
    service,
    method: 'GET',
    path: `${server}/migrations/:migration`,
    versions: ['2.23'],
    policy: migration('show'),
    query: strictFrom('2.102'),
  })
  async migration(call: Call) {
    const { id } = await this.server(call, migration('show'));
    throw notFound(`In-progress live migration ${call.params.migration} is not found for server ${id}.`);
  }

  @Operation({
    service,
    method: 'DELETE',
    path: `${server}/migrations/:migration`,
    versions: ['2.24'],
    policy: migration('delete'),
    status: 202,
  })
  async abortMigration(call: Call) {
    const { id } = await this.server(call, migration('delete'));
    throw notFound(`Migration ${call.params.migration} not found for instance ${id}`);
  }

  @Operation({
    service,
    method: 'POST',
    path: `${server}/migrations/:migration/action`,
    versions: ['2.22'],
    policy: migration('force_complete'),
    body: z.strictObject({ force_complete: z.null() }),
    status: 202,
  })
  async completeMigration(call: Call) {
    const { id } = await this.server(call, migration('force_complete'));
    throw invalid(`Migration ${call.params.migration} not found for instance ${id}`);
  }

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
