import { Controller } from '@nestjs/common';
import { invalid, type ProjectId, type ServerGroupPolicy, type UserId } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type ByVersion, type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { first, pageSize, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { queryByVersion, View, wrapped } from '../common/versions.js';
import { ComputeSettings } from '../compute-ports.js';
import { defaultQuota } from '../quota/defaults.js';
import { limitOf, quotaAggregate } from '../quota/quota.js';
import { serverTable } from '../server/view/server.projection.js';
import { serverGroupAggregate, serverGroupNotFound } from './server-group.js';
import { type ServerGroupRow, serverGroupTable } from './server-group.projection.js';

const compute = 'compute' as const;
const path = '/v2.1/os-server-groups';
const rule = (name: string) => `os_compute_api:os-server-groups:${name}`;

const hard = ['anti-affinity', 'affinity'] as const;
const soft = ['soft-anti-affinity', 'soft-affinity'] as const;
const one = (policies: readonly [string, ...string[]]) => z.array(z.enum(policies)).length(1);
const createGroup: ByVersion<z.ZodType> = wrapped('server_group', {
  name: [['2.1', t.name]],
  policies: [
    ['2.1', one(hard)],
    ['2.15', one([...hard, ...soft])],
    ['2.64', null],
  ],
  policy: [['2.64', z.enum([...hard, ...soft])]],
  rules: [['2.64', z.strictObject({ max_server_per_host: t.positiveInteger.optional() }).optional()]],
});
interface CreateGroupBody {
  readonly server_group: {
    readonly name: string;
    readonly policies?: readonly ServerGroupPolicy[];
    readonly policy?: ServerGroupPolicy;
    readonly rules?: { readonly max_server_per_host?: number };
  };
}

const view = new View<ServerGroupRow, ReadonlySet<string>>([
  ['id', '2.1', null, (g) => g.id],
  ['name', '2.1', null, (g) => g.name],
  ['policies', '2.1', '2.63', (g) => [g.policy]],
  ['policy', '2.64', null, (g) => g.policy],
  ['rules', '2.64', null, (g) => (g.maxServerPerHost === null ? {} : { max_server_per_host: g.maxServerPerHost })],
  ['members', '2.1', null, (g, alive) => g.members.filter((m) => alive.has(m))],
  ['metadata', '2.1', '2.63', () => ({})],
  ['project_id', '2.13', null, (g) => g.projectId],
  ['user_id', '2.13', null, (g) => g.userId],
]);

@Controller()
export class ServerGroupsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly settings: ComputeSettings,
  ) {}

  @Operation({ service: compute, method: 'POST', path, policy: rule('create'), body: createGroup })
  async create(call: Call) {
    const wanted = (call.body as CreateGroupBody).server_group;
    const policy = wanted.policy ?? wanted.policies![0]!;
    const most = wanted.rules?.max_server_per_host;
    if (most !== undefined && policy !== 'anti-affinity') throw invalid('Only anti-affinity policy supports rules.');
    const { projectId, userId } = call.token;
    if (projectId === null) throw invalid('A server group belongs to a project: use a token of one.');
    const quota = await this.core.commands.load(quotaAggregate, projectId);
    const groupId = this.core.ids.uuid();
    const group = {
      projectId: projectId as ProjectId,
      userId: userId as UserId,
      groupId,
      name: wanted.name.trim(),
      policy,
      maxServerPerHost: most ?? null,
    };
    await this.core.commands.execute(
      serverGroupAggregate,
      projectId,
      { type: 'create', group, limit: limitOf(quota, { ...defaultQuota, ...this.settings.quota }, 'server_groups') },
      call.context(),
    );
    const row: ServerGroupRow = { ...group, id: groupId, members: [], createdAt: this.core.clock.now() };
    return { server_group: view.render(call.version, row, new Set()) };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path,
    policy: rule('index'),
    query: queryByVersion({
      all_projects: [['2.1', t.anyText]],
      limit: [['2.1', t.limit]],
      offset: [['2.1', t.limit]],
    }),
  })
  async list(call: Call) {
    const query = call.query as Query;
    const rows = await this.core.fresh();
    const all = query.all_projects !== undefined && call.isAdmin;
    if (all) call.enforce(rule('index:all_projects'));
    const found = await rows.find(serverGroupTable, {
      ...(all ? {} : { where: { projectId: call.token.projectId ?? '' } }),
      orderBy: [['createdAt', 'asc']],
    });
    const start = Number(first(query, 'offset') ?? 0);
    const page = found.slice(start, start + pageSize(query));
    const alive = await living(rows, page);
    return { server_groups: page.map((g) => view.render(call.version, g, alive)) };
  }

  @Operation({ service: compute, method: 'GET', path: `${path}/:id`, policy: rule('show') })
  async show(call: Call) {
    const rows = await this.core.fresh();
    const group = await this.group(call, rows, 'show');
    return { server_group: view.render(call.version, group, await living(rows, [group])) };
  }

  @Operation({ service: compute, method: 'DELETE', path: `${path}/:id`, policy: rule('delete'), status: 204 })
  async remove(call: Call) {
    const group = await this.group(call, await this.core.fresh(), 'delete');
    await this.core.commands.execute(
      serverGroupAggregate,
      group.projectId,
      { type: 'delete', projectId: group.projectId as ProjectId, groupId: group.id },
      call.context(),
    );
  }

  private async group(call: Call, rows: RowReader, name: string): Promise<ServerGroupRow> {
    const id = call.params.id!;
    const row = await rows.get(serverGroupTable, id);
    if (!row || (row.projectId !== call.token.projectId && !call.isAdmin)) throw serverGroupNotFound(id.slice(0, 255));
    call.enforce(rule(name), { project_id: row.projectId, user_id: row.userId });
    return row;
  }
}

const living = async (rows: RowReader, groups: readonly ServerGroupRow[]): Promise<Set<string>> => {
  const servers = await rows.getMany(
    serverTable,
    groups.flatMap((g) => g.members),
  );
  return new Set([...servers.values()].filter((s) => !s.deleted).map((s) => s.id));
};
