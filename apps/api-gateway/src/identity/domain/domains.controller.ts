import { Controller } from '@nestjs/common';
import { forbidden, type IdentityDomainId } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, Enabled, extraOf, filtered, given, Options, ShortName, selfLink, Tags } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { domains } from '../record/aggregates.js';
import { type DomainRow, domainTable, groupTable, projectTable, roleTable, userTable } from '../record/tables.js';
import { Removal } from '../removal.js';

const fields = {
  name: ShortName,
  description: z.string().nullable().optional(),
  enabled: Enabled.optional(),
  tags: Tags.optional(),
  options: Options.optional(),
};
const KNOWN = [...Object.keys(fields), 'id', 'links'];
const CreateBody = z.looseObject({ domain: z.looseObject(fields) });
const UpdateBody = z.looseObject({ domain: z.looseObject({ ...fields, name: ShortName.optional() }) });

const view = (call: Call, row: DomainRow) => ({
  ...row.extra,
  id: row.id,
  name: row.name,
  description: row.description,
  enabled: row.enabled,
  tags: row.tags,
  options: row.options,
  links: selfLink(call, `domains/${row.id}`),
});

const target = (row: DomainRow) => ({ domain: { id: row.id, name: row.name } });

@Controller()
export class DomainsController {
  constructor(
    private readonly desk: IdentityDesk,
    private readonly removal: Removal,
  ) {}

  @Operation({ service: 'identity', method: 'GET', path: '/v3/domains', policy: 'authenticated' })
  async list(call: Call) {
    call.enforce('identity:list_domains', { target: { domain: { id: call.token.domainId ?? undefined } } });
    let rows = await (await this.desk.fresh()).find(domainTable, { orderBy: [['name', 'asc']] });
    if (call.token.domainId !== null && !call.isAdmin) rows = rows.filter((r) => r.id === call.token.domainId);
    return collection(
      call,
      'domains',
      filtered(call, rows, ['name', 'enabled']).map((r) => view(call, r)),
    );
  }

  @Operation({
    service: 'identity',
    method: 'POST',
    path: '/v3/domains',
    policy: 'identity:create_domain',
    body: CreateBody,
    status: 201,
  })
  async create(call: Call) {
    const { domain } = call.body as z.infer<typeof CreateBody>;
    const id = this.desk.core.ids.hex() as IdentityDomainId;
    const at = this.desk.core.clock.now();
    await this.desk.names.take('domain', '', domain.name, id, at, call.context(), (o) => this.exists(o));
    const attributes = {
      name: domain.name,
      description: domain.description ?? '',
      enabled: domain.enabled ?? true,
      tags: domain.tags ?? [],
      options: domain.options ?? {},
      extra: extraOf(domain, KNOWN),
    };
    await this.desk.execute(domains, id, { type: 'create', id, attributes }, call.context());
    return { domain: view(call, { ...attributes, id, createdAt: at, invalidBefore: null }) };
  }

  @Operation({ service: 'identity', method: 'GET', path: '/v3/domains/:id', policy: 'authenticated' })
  async show(call: Call) {
    return { domain: view(call, await this.load(call, 'identity:get_domain')) };
  }

  @Operation({
    service: 'identity',
    method: 'PATCH',
    path: '/v3/domains/:id',
    policy: 'authenticated',
    body: UpdateBody,
  })
  async update(call: Call) {
    const row = await this.load(call, 'identity:update_domain');
    const { domain } = call.body as z.infer<typeof UpdateBody>;
    const { name } = domain;
    const renamed = name !== undefined && name !== row.name;
    if (renamed)
      await this.desk.names.take('domain', '', name, row.id, this.desk.core.clock.now(), call.context(), (o) =>
        this.exists(o),
      );
    const changes = given({
      name,
      description: domain.description === null ? '' : domain.description,
      enabled: domain.enabled,
      tags: domain.tags,
      options: domain.options,
      extra: extraOf(domain, KNOWN),
    });
    await this.desk.execute(domains, row.id, { type: 'update', id: row.id, changes }, call.context());
    if (renamed) await this.desk.names.giveBack('domain', '', row.name, row.id, call.context());
    return { domain: view(call, (await (await this.desk.fresh()).get(domainTable, row.id)) ?? row) };
  }

  @Operation({ service: 'identity', method: 'DELETE', path: '/v3/domains/:id', policy: 'authenticated', status: 204 })
  async remove(call: Call) {
    const row = await this.load(call, 'identity:delete_domain');
    if (row.id === 'default') throw forbidden('The default domain cannot be deleted.');
    if (row.enabled) throw forbidden('Cannot delete a domain that is enabled, please disable it first.');
    const rows = await this.desk.fresh();
    const where = { where: { domainId: row.id } as never };
    const context = (step: string) => call.context(step);
    for (const user of await rows.find(userTable, where)) await this.removal.user(user, context);
    for (const group of await rows.find(groupTable, where)) await this.removal.group(group, context);
    for (const project of await rows.find(projectTable, where)) await this.removal.project(project, context);
    for (const role of (await rows.find(roleTable)).filter((r) => r.domainId === row.id))
      await this.removal.role(role, context);
    await this.removal.limits(row.id, context);
    await this.desk.unassign({ scopeId: row.id, scopeKind: 'domain' }, context);
    await this.desk.execute(domains, row.id, { type: 'delete', id: row.id }, call.context());
    await this.desk.names.giveBack('domain', '', row.name, row.id, call.context());
  }

  private load(call: Call, rule: string): Promise<DomainRow> {
    return this.desk.load(call, rule, domainTable, call.params.id!, 'domain', target);
  }

  private async exists(id: string): Promise<boolean> {
    return (await (await this.desk.fresh()).get(domainTable, id)) !== undefined;
  }
}
