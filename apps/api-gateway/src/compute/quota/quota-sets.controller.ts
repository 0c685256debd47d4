import { Controller } from '@nestjs/common';
import { invalid, ProjectId, type QuotaAmounts, unsupported } from '@omnivisor/contracts';
import { type ByVersion, type Call, Operation } from '@omnivisor/openstack';
import type { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { type FieldHistory, queryByVersion, strictFrom, View, wrapped } from '../common/versions.js';
import { ComputeSettings } from '../compute-ports.js';
import { serverGroupTable } from '../server-group/server-group.projection.js';
import { defaultQuota } from './defaults.js';
import { limitOf, type Quota, quotaAggregate } from './quota.js';

const compute = 'compute' as const;
const path = '/v2.1/os-quota-sets/:project';
const rule = (name: string) => `os_compute_api:os-quota-sets:${name}`;

/** Resources of a quota set, and the last microversion that has them. */
export const quotaResources: readonly (readonly [name: string, until: string | null])[] = [
  ['instances', null],
  ['cores', null],
  ['ram', null],
  ['metadata_items', null],
  ['key_pairs', null],
  ['server_groups', null],
  ['server_group_members', null],
  ['floating_ips', '2.35'],
  ['fixed_ips', '2.35'],
  ['security_groups', '2.35'],
  ['security_group_rules', '2.35'],
  ['injected_files', '2.56'],
  ['injected_file_content_bytes', '2.56'],
  ['injected_file_path_bytes', '2.56'],
];

const next = (version: string) => `2.${Number(version.split('.')[1]) + 1}`;
const history = (until: string | null): FieldHistory =>
  until === null
    ? [['2.1', t.quotaLimit.optional()]]
    : [
        ['2.1', t.quotaLimit.optional()],
        [next(until), null],
      ];
const updateQuota: ByVersion<z.ZodType> = wrapped('quota_set', {
  ...Object.fromEntries(quotaResources.map(([name, until]) => [name, history(until)])),
  force: [['2.1', t.boolean.optional()]],
});
const query = queryByVersion({ user_id: [['2.1', t.anyText]] });

type ValueOf = (resource: string) => unknown;
const view = new View<ValueOf>(
  quotaResources.map(([name, until]) => [name, '2.1', until, (value: ValueOf) => value(name)] as const),
);

@Controller()
export class QuotaSetsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly settings: ComputeSettings,
  ) {}

  @Operation({ service: compute, method: 'GET', path, policy: 'authenticated', query })
  async show(call: Call) {
    const projectId = this.project(call, 'show');
    return { quota_set: { id: projectId, ...this.limits(call, await this.quota(projectId)) } };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: `${path}/defaults`,
    policy: 'authenticated',
    query: strictFrom('2.102'),
  })
  async defaults(call: Call) {
    const projectId = this.project(call, 'defaults');
    return { quota_set: { id: projectId, ...this.limits(call, quotaAggregate.initial) } };
  }

  @Operation({ service: compute, method: 'GET', path: `${path}/detail`, policy: 'authenticated', query })
  async detail(call: Call) {
    const projectId = this.project(call, 'detail');
    const quota = await this.quota(projectId);
    const used: QuotaAmounts = {
      ...quota.used,
      server_groups: await (await this.core.fresh()).count(serverGroupTable, { projectId }),
    };
    const value: ValueOf = (r) => ({ limit: this.limit(quota, r), in_use: used[r] ?? 0, reserved: 0 });
    return { quota_set: { id: projectId, ...view.render(call.version, value, undefined) } };
  }

  @Operation({ service: compute, method: 'PUT', path, policy: 'authenticated', body: updateQuota, query })
  async update(call: Call) {
    const projectId = this.project(call, 'update');
    if ((call.query as Query).user_id) throw unsupported('Quotas of single users are not supported.');
    const { force, ...limits } = (call.body as { quota_set: QuotaAmounts & { force?: boolean } }).quota_set as Record<
      string,
      number
    > & { force?: boolean };
    const quota = await this.quota(projectId);
    for (const [resource, limit] of Object.entries(limits)) {
      const used = quota.used[resource] ?? 0;
      if (!force && limit >= 0 && limit < used)
        throw invalid(
          `Quota limit ${limit} for ${resource} must be greater than or equal to already used and reserved ${used}.`,
        );
    }
    const { state } = await this.core.commands.execute(
      quotaAggregate,
      projectId,
      { type: 'setLimits', projectId, limits },
      call.context(),
    );
    return { quota_set: this.limits(call, state) };
  }

  @Operation({ service: compute, method: 'DELETE', path, policy: 'authenticated', query, status: 202 })
  async remove(call: Call) {
    const projectId = this.project(call, 'delete');
    if ((call.query as Query).user_id) throw unsupported('Quotas of single users are not supported.');
    await this.core.commands.execute(quotaAggregate, projectId, { type: 'resetLimits', projectId }, call.context());
  }

  private project(call: Call, name: string): ProjectId {
    const asked = call.params.project!;
    call.enforce(rule(name), { project_id: asked });
    const parsed = ProjectId.safeParse(asked);
    if (!parsed.success) throw invalid(`Project ID ${asked.slice(0, 255)} is not a valid project.`);
    return parsed.data;
  }

  private quota(projectId: string): Promise<Quota> {
    return this.core.load(quotaAggregate, projectId);
  }

  private limit(quota: Quota, resource: string): number {
    return limitOf(quota, { ...defaultQuota, ...this.settings.quota }, resource);
  }

  private limits(call: Call, quota: Quota) {
    return view.render(call.version, (r) => this.limit(quota, r), undefined);
  }
}
