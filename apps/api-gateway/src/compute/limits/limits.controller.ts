import { Controller } from '@nestjs/common';
import { ProjectId } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { last, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { queryByVersion, View, type ViewField } from '../common/versions.js';
import { ComputeSettings } from '../compute-ports.js';
import { defaultQuota } from '../quota/defaults.js';
import { limitOf, type Quota, quotaAggregate } from '../quota/quota.js';
import { serverGroupTable } from '../server-group/server-group.projection.js';

interface Context {
  readonly limit: (resource: string) => number;
  readonly serverGroups: number;
}
type Field = ViewField<Quota, Context>;
const limit = (name: string, resource: string, until: string | null = null): Field => [
  name,
  '2.1',
  until,
  (_, c) => c.limit(resource),
];
const used = (name: string, resource: string, until: string | null = null): Field => [
  name,
  '2.1',
  until,
  (q) => q.used[resource] ?? 0,
];

const view = new View<Quota, Context>([
  limit('maxTotalInstances', 'instances'),
  limit('maxTotalCores', 'cores'),
  limit('maxTotalRAMSize', 'ram'),
  limit('maxTotalKeypairs', 'key_pairs'),
  limit('maxServerMeta', 'metadata_items'),
  limit('maxImageMeta', 'metadata_items', '2.38'),
  limit('maxServerGroups', 'server_groups'),
  limit('maxServerGroupMembers', 'server_group_members'),
  limit('maxPersonality', 'injected_files', '2.56'),
  limit('maxPersonalitySize', 'injected_file_content_bytes', '2.56'),
  limit('maxTotalFloatingIps', 'floating_ips', '2.35'),
  limit('maxSecurityGroups', 'security_groups', '2.35'),
  limit('maxSecurityGroupRules', 'security_group_rules', '2.35'),
  used('totalInstancesUsed', 'instances'),
  used('totalCoresUsed', 'cores'),
  used('totalRAMUsed', 'ram'),
  ['totalServerGroupsUsed', '2.1', null, (_, c) => c.serverGroups],
  used('totalFloatingIpsUsed', 'floating_ips', '2.35'),
  used('totalSecurityGroupsUsed', 'security_groups', '2.35'),
]);

@Controller()
export class LimitsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly settings: ComputeSettings,
  ) {}

  @Operation({
    service: 'compute',
    method: 'GET',
    path: '/v2.1/limits',
    policy: 'os_compute_api:limits',
    query: queryByVersion({ tenant_id: [['2.1', t.anyText]], reserved: [['2.1', t.anyText]] }),
  })
  async show(call: Call) {
    const asked = last(call.query as Query, 'tenant_id');
    if (asked !== undefined && asked !== call.token.projectId)
      call.enforce('os_compute_api:limits:other_project', { project_id: asked });
    const projectId = asked ?? call.token.projectId;
    const quota =
      projectId !== null && ProjectId.safeParse(projectId).success
        ? await this.core.load(quotaAggregate, projectId)
        : quotaAggregate.initial;
    const defaults = { ...defaultQuota, ...this.settings.quota };
    const serverGroups =
      projectId === null ? 0 : await (await this.core.fresh()).count(serverGroupTable, { projectId });
    const absolute = view.render(call.version, quota, { limit: (r) => limitOf(quota, defaults, r), serverGroups });
    return { limits: { rate: [], absolute } };
  }
}
