import { Controller } from '@nestjs/common';
import { invalid } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, filtered, given, Id, Name, selfLink } from '../common.js';
import { IdentityDesk } from '../desk.js';
import {
  domainTable,
  type LimitRow,
  limitTable,
  projectTable,
  type RegisteredLimitRow,
  regionTable,
  registeredLimitTable,
} from '../record/tables.js';
import { LIMITS, type LimitCommand, noLimit, noRegisteredLimit, unifiedLimits } from './unified-limits.js';

const amount = z.number().int().min(-1).max(2_147_483_647);
const description = z.string().max(65_535).nullable();
const resource = {
  service_id: z.string().min(1).max(255),
  region_id: z.string().min(1).max(255).nullable(),
  resource_name: Name,
};
const optional = { region_id: resource.region_id.optional(), description: description.optional() };

const Registered = z.strictObject({ ...resource, ...optional, default_limit: amount });
const RegisterBody = z.strictObject({ registered_limits: z.array(Registered).min(1) });
const RegisteredPatch = z.strictObject({ registered_limit: Registered.partial() });

const Limit = z
  .strictObject({
    ...resource,
    ...optional,
    resource_limit: amount,
    project_id: Id.nullable().optional(),
    domain_id: Id.nullable().optional(),
  })
  .refine(({ project_id: p, domain_id: d }) => (p ?? null) === null || (d ?? null) === null, 'is valid under each of')
  .refine((l) => (l.project_id ?? l.domain_id ?? null) !== null, "'project_id' or 'domain_id' is a required property");
const LimitsBody = z.strictObject({ limits: z.array(Limit).min(1) });
const LimitPatch = z.strictObject({
  limit: z.strictObject({ resource_limit: amount.optional(), description: description.optional() }),
});

const service = 'identity';
const registered = '/v3/registered_limits';
const limits = '/v3/limits';

/** Limits that services look up here, of everybody and of single projects and domains. */
@Controller()
export class LimitsController {
  constructor(private readonly desk: IdentityDesk) {}

  @Operation({ service, method: 'GET', path: registered, policy: 'identity:list_registered_limits' })
  async listRegistered(call: Call) {
    const rows = await (await this.desk.fresh()).find(registeredLimitTable);
    const views = rows.map((row) => registeredView(call, row));
    return collection(call, 'registered_limits', filtered(call, views, ['service_id', 'region_id', 'resource_name']));
  }

  @Operation({
    service,
    method: 'POST',
    path: registered,
    policy: 'identity:create_registered_limits',
    body: RegisterBody,
    status: 201,
  })
  async register(call: Call<z.infer<typeof RegisterBody>>) {
    const wanted = [];
    for (const limit of call.body.registered_limits) {
      await this.checkPlace(limit, 'registered_limit');
      wanted.push({
        id: this.desk.core.ids.hex(),
        attributes: {
          serviceId: limit.service_id,
          regionId: limit.region_id ?? null,
          resourceName: limit.resource_name,
          defaultLimit: limit.default_limit,
          description: limit.description ?? null,
        },
      });
    }
    await this.execute(call, { type: 'register', limits: wanted });
    const views = wanted.map(({ id, attributes }) => registeredView(call as Call, { ...attributes, id }));
    return { registered_limits: views };
  }

  @Operation({ service, method: 'GET', path: `${registered}/:id`, policy: 'identity:get_registered_limit' })
  async showRegistered(call: Call) {
    return { registered_limit: await this.registeredLimit(call) };
  }

  @Operation({
    service,
    method: 'PATCH',
    path: `${registered}/:id`,
    policy: 'identity:update_registered_limit',
    body: RegisteredPatch,
  })
  async changeRegistered(call: Call<z.infer<typeof RegisteredPatch>>) {
    const { registered_limit: wish } = call.body;
    await this.checkPlace(wish, 'registered_limit');
    const changes = given({
      serviceId: wish.service_id,
      regionId: wish.region_id,
      resourceName: wish.resource_name,
      defaultLimit: wish.default_limit,
      description: wish.description,
    });
    await this.execute(call, { type: 'changeRegistered', id: call.params.id!, changes });
    return { registered_limit: await this.registeredLimit(call) };
  }

  @Operation({
    service,
    method: 'DELETE',
    path: `${registered}/:id`,
    policy: 'identity:delete_registered_limit',
    status: 204,
  })
  async unregister(call: Call) {
    await this.execute(call, { type: 'unregister', id: call.params.id! });
  }

  @Operation({ service, method: 'GET', path: `${limits}/model`, policy: 'identity:get_limit_model' })
  model() {
    return {
      model: {
        name: 'flat',
        description: 'Limit enforcement and validation does not take project hierarchy into consideration.',
      },
    };
  }

  @Operation({ service, method: 'GET', path: limits, policy: 'identity:list_limits' })
  async list(call: Call) {
    const rows = await (await this.desk.fresh()).find(limitTable);
    const seen = [];
    for (const row of rows) if (await this.concerns(call, row)) seen.push(limitView(call, row));
    const fields = ['service_id', 'region_id', 'resource_name', 'project_id', 'domain_id'];
    return collection(call, 'limits', filtered(call, seen, fields));
  }

  @Operation({
    service,
    method: 'POST',
    path: limits,
    policy: 'identity:create_limits',
    body: LimitsBody,
    status: 201,
  })
  async create(call: Call<z.infer<typeof LimitsBody>>) {
    const wanted = [];
    for (const limit of call.body.limits) {
      await this.checkPlace(limit, 'limit');
      const attributes = {
        serviceId: limit.service_id,
        regionId: limit.region_id ?? null,
        resourceName: limit.resource_name,
        projectId: limit.project_id ?? null,
        domainId: limit.domain_id ?? null,
        resourceLimit: limit.resource_limit,
        description: limit.description ?? null,
      };
      await this.checkOwner(attributes);
      wanted.push({ id: this.desk.core.ids.hex(), attributes });
    }
    await this.execute(call, { type: 'create', limits: wanted });
    return { limits: wanted.map(({ id, attributes }) => limitView(call as Call, { ...attributes, id })) };
  }

  @Operation({ service, method: 'GET', path: `${limits}/:limit_id`, policy: 'authenticated' })
  async show(call: Call) {
    return { limit: await this.limit(call) };
  }

  @Operation({
    service,
    method: 'PATCH',
    path: `${limits}/:limit_id`,
    policy: 'identity:update_limit',
    body: LimitPatch,
  })
  async change(call: Call<z.infer<typeof LimitPatch>>) {
    const { resource_limit: resourceLimit, description: text } = call.body.limit;
    const changes = given({ resourceLimit, description: text });
    await this.execute(call, { type: 'change', id: call.params.limit_id!, changes });
    return { limit: await this.limit(call) };
  }

  @Operation({ service, method: 'DELETE', path: `${limits}/:limit_id`, policy: 'identity:delete_limit', status: 204 })
  async remove(call: Call) {
    await this.execute(call, { type: 'delete', id: call.params.limit_id! });
  }

  private execute(call: Call<unknown>, command: LimitCommand) {
    return this.desk.execute(unifiedLimits, LIMITS, command, call.context());
  }

  private async registeredLimit(call: Call<unknown>) {
    const id = call.params.id!;
    const row = await (await this.desk.fresh()).get(registeredLimitTable, id);
    if (!row) throw noRegisteredLimit(id);
    return registeredView(call as Call, row);
  }

  private async limit(call: Call<unknown>) {
    const id = call.params.limit_id!;
    const rows = await this.desk.fresh();
    const row = await rows.get(limitTable, id);
    const project = row?.projectId ? await rows.get(projectTable, row.projectId) : undefined;
    const target = row && {
      project_id: row.projectId,
      project: { domain_id: project?.domainId },
      domain: { id: row.domainId },
    };
    call.enforce('identity:get_limit', target ? { target: { limit: target } } : {});
    if (!row) throw noLimit(id);
    return limitView(call as Call, row);
  }

  /** Whether a list that a caller asks for has the limit: all for admins and services, else those of its scope. */
  private async concerns({ token }: Call, row: LimitRow): Promise<boolean> {
    if (token.system || token.roles.some((r) => r.name === 'admin' || r.name === 'service')) return true;
    if (token.projectId !== null) return row.projectId === token.projectId;
    if (token.domainId === null) return false;
    if (row.projectId === null) return row.domainId === token.domainId;
    return (await (await this.desk.fresh()).get(projectTable, row.projectId))?.domainId === token.domainId;
  }

  private async checkPlace(
    wish: { service_id?: string | undefined; region_id?: string | null | undefined },
    target: string,
  ): Promise<void> {
    const rows = await this.desk.fresh();
    const { service_id: serviceId, region_id: regionId = null } = wish;
    if (serviceId !== undefined && !(await this.desk.catalog.services(rows)).some((s) => s.id === serviceId))
      throw expected('service_id', target);
    const known = regionId === null || regionId === this.desk.catalog.region;
    if (!known && !(await rows.get(regionTable, regionId))) throw expected('region_id', target);
  }

  private async checkOwner({ projectId, domainId }: Pick<LimitRow, 'projectId' | 'domainId'>): Promise<void> {
    const rows = await this.desk.fresh();
    if (projectId !== null && !(await rows.get(projectTable, projectId))) throw expected('project_id', 'limit');
    if (domainId !== null && !(await rows.get(domainTable, domainId))) throw expected('domain_id', 'limit');
  }
}

const expected = (attribute: string, target: string) =>
  invalid(
    `Expecting to find ${attribute} in ${target}. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.`,
  );

const registeredView = (call: Call, row: Omit<RegisteredLimitRow, 'createdAt'>) => ({
  id: row.id,
  service_id: row.serviceId,
  region_id: row.regionId,
  resource_name: row.resourceName,
  default_limit: row.defaultLimit,
  description: row.description,
  links: selfLink(call, `registered_limits/${row.id}`),
});

const limitView = (call: Call, row: Omit<LimitRow, 'createdAt'>) => ({
  id: row.id,
  service_id: row.serviceId,
  region_id: row.regionId,
  resource_name: row.resourceName,
  project_id: row.projectId,
  domain_id: row.domainId,
  resource_limit: row.resourceLimit,
  description: row.description,
  links: selfLink(call, `limits/${row.id}`),
});
