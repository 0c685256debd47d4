import { Controller } from '@nestjs/common';
import { forbidden, type IdentityDomainId, type RoleAttributes, type RoleId } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, extraOf, filtered, given, Id, Name, Options, one, selfLink } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { roles } from '../record/aggregates.js';
import { missing } from '../record/record.js';
import { type RoleRow, roleTable } from '../record/tables.js';
import { Removal } from '../removal.js';

const fields = {
  name: Name,
  description: z.string().nullable().optional(),
  domain_id: Id.nullable().optional(),
  options: Options.optional(),
};
const KNOWN = [...Object.keys(fields), 'id', 'links'];
const CreateBody = z.looseObject({ role: z.looseObject(fields) });
const UpdateBody = z.looseObject({ role: z.looseObject({ ...fields, name: Name.optional() }) });

export const roleView = (call: Call, row: RoleRow) => ({
  ...row.extra,
  id: row.id,
  name: row.name,
  domain_id: row.domainId,
  description: row.description,
  options: row.options,
  links: selfLink(call, `roles/${row.id}`),
});

const target = (row: RoleRow) => ({ role: { id: row.id, name: row.name, domain_id: row.domainId } });

/** Roles that Keystone makes itself; without `admin` nobody could mend anything. */
const IMMUTABLE = new Set(['admin']);

const service = 'identity';

@Controller()
export class RolesController {
  constructor(
    private readonly desk: IdentityDesk,
    private readonly removal: Removal,
  ) {}

  @Operation({ service, method: 'GET', path: '/v3/roles', policy: 'authenticated' })
  async list(call: Call) {
    const domainId = one(call, 'domain_id');
    call.enforce(domainId ? 'identity:list_domain_roles' : 'identity:list_roles', { target: { domain_id: domainId } });
    const rows = await (await this.desk.fresh()).find(roleTable, { orderBy: [['name', 'asc']] });
    const own = rows.filter((r) => r.domainId === (domainId ?? null)).map((r) => roleView(call, r));
    return collection(call, 'roles', filtered(call, own, ['name']));
  }

  @Operation({ service, method: 'POST', path: '/v3/roles', policy: 'authenticated', body: CreateBody, status: 201 })
  async create(call: Call) {
    const { role } = call.body as z.infer<typeof CreateBody>;
    const domainId = (role.domain_id ?? null) as IdentityDomainId | null;
    call.enforce(domainId ? 'identity:create_domain_role' : 'identity:create_role', {
      target: { role: { domain_id: domainId } },
    });
    const id = this.desk.core.ids.hex() as RoleId;
    const at = this.desk.core.clock.now();
    await this.desk.names.take('role', domainId ?? '', role.name, id, at, call.context(), (o) => this.exists(o));
    const attributes: RoleAttributes = {
      name: role.name,
      domainId,
      description: role.description ?? null,
      options: role.options ?? {},
      extra: extraOf(role, KNOWN),
    };
    await this.desk.execute(roles, id, { type: 'create', id, attributes }, call.context());
    return { role: roleView(call, { ...attributes, id, createdAt: at, implies: [] }) };
  }

  @Operation({ service, method: 'GET', path: '/v3/roles/:role_id', policy: 'authenticated' })
  async show(call: Call) {
    return { role: roleView(call, await this.load(call, 'identity:get_role')) };
  }

  @Operation({ service, method: 'PATCH', path: '/v3/roles/:role_id', policy: 'authenticated', body: UpdateBody })
  async update(call: Call) {
    const row = await this.load(call, 'identity:update_role');
    const { role } = call.body as z.infer<typeof UpdateBody>;
    const { name } = role;
    const renamed = name !== undefined && name !== row.name;
    if (renamed && IMMUTABLE.has(row.name)) throw forbidden(`The role ${row.name} cannot be renamed.`);
    const at = this.desk.core.clock.now();
    const scope = row.domainId ?? '';
    if (renamed) await this.desk.names.take('role', scope, name, row.id, at, call.context(), (o) => this.exists(o));
    const changes = given({ name, description: role.description, options: role.options, extra: extraOf(role, KNOWN) });
    await this.desk.execute(roles, row.id, { type: 'update', id: row.id, changes }, call.context());
    if (renamed) await this.desk.names.giveBack('role', scope, row.name, row.id, call.context());
    return { role: roleView(call, (await (await this.desk.fresh()).get(roleTable, row.id)) ?? row) };
  }

  @Operation({ service, method: 'DELETE', path: '/v3/roles/:role_id', policy: 'authenticated', status: 204 })
  async remove(call: Call) {
    const row = await this.load(call, 'identity:delete_role');
    if (row.domainId === null && IMMUTABLE.has(row.name)) throw forbidden(`The role ${row.name} cannot be deleted.`);
    await this.removal.role(row, (step) => call.context(step));
  }

  @Operation({ service, method: 'GET', path: '/v3/role_inferences', policy: 'identity:list_role_inference_rules' })
  async inferences(call: Call) {
    const rows = await (await this.desk.fresh()).find(roleTable);
    const byId = new Map(rows.map((r) => [r.id, r]));
    const rules = rows
      .filter((r) => r.implies.length > 0)
      .map((prior) => ({
        prior_role: brief(call, prior),
        implies: prior.implies.flatMap((id) => byId.get(id) ?? []).map((r) => brief(call, r)),
      }));
    return { role_inferences: rules };
  }

  @Operation({ service, method: 'GET', path: '/v3/roles/:role_id/implies', policy: 'identity:list_implied_roles' })
  async implied(call: Call) {
    const prior = await this.load(call, 'identity:list_implied_roles');
    const implied = await (await this.desk.fresh()).getMany(roleTable, prior.implies);
    const inference = { prior_role: brief(call, prior), implies: [...implied.values()].map((r) => brief(call, r)) };
    return { role_inference: inference, links: { self: call.publicUrl + call.path } };
  }

  @Operation({
    service,
    method: 'PUT',
    path: '/v3/roles/:role_id/implies/:implied_id',
    policy: 'identity:create_implied_role',
    status: 201,
  })
  async imply(call: Call) {
    const prior = await this.load(call, 'identity:create_implied_role');
    const other = await this.other(call);
    if (other.name === 'admin') throw forbidden(`Role ${other.id} cannot be an implied role.`);
    if (await this.leadsTo(other, prior.id)) throw forbidden(`Role ${prior.id} is already implied by ${other.id}.`);
    const command = { type: 'imply' as const, id: prior.id, impliedId: other.id };
    await this.desk.execute(roles, prior.id, command, call.context());
    return this.inference(call, prior, other);
  }

  @Operation({
    service,
    method: 'GET',
    path: '/v3/roles/:role_id/implies/:implied_id',
    policy: 'identity:get_implied_role',
  })
  async showImplied(call: Call) {
    const { prior, other } = await this.pair(call);
    return this.inference(call, prior, other);
  }

  @Operation({
    service,
    method: 'HEAD',
    path: '/v3/roles/:role_id/implies/:implied_id',
    policy: 'identity:check_implied_role',
    status: 204,
  })
  async checkImplied(call: Call) {
    await this.pair(call);
  }

  @Operation({
    service,
    method: 'DELETE',
    path: '/v3/roles/:role_id/implies/:implied_id',
    policy: 'identity:delete_implied_role',
    status: 204,
  })
  async noLongerImply(call: Call) {
    const { prior, other } = await this.pair(call);
    const command = { type: 'noLongerImply' as const, id: prior.id, impliedId: other.id };
    await this.desk.execute(roles, prior.id, command, call.context());
  }

  private inference(call: Call, prior: RoleRow, other: RoleRow) {
    const self = { self: call.publicUrl + call.path };
    return { role_inference: { prior_role: brief(call, prior), implies: brief(call, other) }, links: self };
  }

  private async pair(call: Call): Promise<{ prior: RoleRow; other: RoleRow }> {
    const prior = await this.load(call, 'identity:get_implied_role');
    const other = await this.other(call);
    if (!prior.implies.includes(other.id)) throw missing(`implied role`, `${prior.id} -> ${other.id}`);
    return { prior, other };
  }

  private async other(call: Call): Promise<RoleRow> {
    const row = await (await this.desk.fresh()).get(roleTable, call.params.implied_id!);
    if (!row) throw missing('role', call.params.implied_id!);
    return row;
  }

  private async leadsTo(from: RoleRow, id: string): Promise<boolean> {
    const rows = new Map((await (await this.desk.fresh()).find(roleTable)).map((r) => [r.id, r]));
    const seen = new Set<string>();
    const wanted = [from.id];
    for (let next = wanted.pop(); next !== undefined; next = wanted.pop()) {
      if (next === id) return true;
      if (seen.has(next)) continue;
      seen.add(next);
      wanted.push(...(rows.get(next)?.implies ?? []));
    }
    return false;
  }

  private load(call: Call, rule: string): Promise<RoleRow> {
    return this.desk.load(call, rule, roleTable, call.params.role_id!, 'role', target);
  }

  private async exists(id: string): Promise<boolean> {
    return (await this.desk.core.commands.load(roles, id)).status === 'present';
  }
}

const brief = (call: Call, row: RoleRow) => ({
  id: row.id,
  name: row.name,
  links: selfLink(call, `roles/${row.id}`),
});
