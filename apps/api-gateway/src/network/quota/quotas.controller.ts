import { Controller } from '@nestjs/common';
import type { ProjectId } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { type Attributes, both, integer, parseUpdate, text } from '../common/attributes.js';
import { owned } from '../common/collection.js';
import { neutronError } from '../common/errors.js';
import { DEFAULT_LIMITS, limitOf, networkQuota, QUOTA_RESOURCES, usedOf } from './network-quota.js';
import { networkLimitsTable } from './network-quota.projection.js';

const attributes: Attributes = {
  ...Object.fromEntries(QUOTA_RESOURCES.map((r) => [r, both(integer(-1, 2_147_483_647))])),
  tenant_id: both(text()),
  project_id: both(text()),
};

@Controller()
export class NetworkQuotasController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/quotas', policy: 'authenticated' })
  async list(call: Call) {
    const rows = await (await this.core.fresh()).find(networkLimitsTable);
    return {
      quotas: rows
        .filter((r) => call.can('get_quota', owned(r.projectId)))
        .map((r) => ({ ...DEFAULT_LIMITS, ...r.limits, project_id: r.projectId, tenant_id: r.projectId })),
    };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/quotas/:id', policy: 'authenticated' })
  async show(call: Call) {
    const id = this.allowed(call);
    const quota = await this.core.load(networkQuota, id);
    return { quota: Object.fromEntries(QUOTA_RESOURCES.map((r) => [r, limitOf(quota, r)])) };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/quotas/:id/default', policy: 'authenticated' })
  defaults(call: Call) {
    this.allowed(call);
    return { quota: { ...DEFAULT_LIMITS } };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/quotas/:id/details', policy: 'authenticated' })
  async details(call: Call) {
    const quota = await this.core.load(networkQuota, this.allowed(call));
    return {
      quota: Object.fromEntries(
        QUOTA_RESOURCES.map((r) => [r, { limit: limitOf(quota, r), used: usedOf(quota, r), reserved: 0 }]),
      ),
    };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/quotas/:id/details.json', policy: 'authenticated' })
  detailsJson(call: Call) {
    return this.details(call);
  }

  @Operation({
    service: 'network',
    method: 'PUT',
    path: '/v2.0/quotas/:id',
    policy: 'update_quota',
    body: z.unknown(),
  })
  async update(call: Call) {
    const { project_id: _, ...limits } = parseUpdate(call.body, 'quota', attributes);
    const projectId = (call.params.id ?? '') as ProjectId;
    const { state } = await this.core.commands.execute(
      networkQuota,
      projectId,
      { type: 'setLimits', projectId, limits: limits as Record<string, number> },
      call.context(),
    );
    return { quota: Object.fromEntries(QUOTA_RESOURCES.map((r) => [r, limitOf(state, r)])) };
  }

  @Operation({ service: 'network', method: 'DELETE', path: '/v2.0/quotas/:id', policy: 'delete_quota', status: 204 })
  async reset(call: Call) {
    const projectId = (call.params.id ?? '') as ProjectId;
    const { events } = await this.core.commands.execute(
      networkQuota,
      projectId,
      { type: 'resetLimits', projectId },
      call.context(),
    );
    if (events.length === 0)
      throw neutronError('notFound', 'TenantQuotaNotFound', `Quota for tenant ${projectId} could not be found.`);
    return new Reply(undefined);
  }

  /** Whoever belongs to the project may see its limits. */
  private allowed(call: Call): string {
    const id = call.params.id ?? '';
    if (id !== call.token.projectId) call.enforce('get_quota', owned(id));
    return id;
  }
}
