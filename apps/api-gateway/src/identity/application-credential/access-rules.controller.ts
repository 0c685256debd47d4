import { Controller } from '@nestjs/common';
import { forbidden } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { collection, filtered, selfLink } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { accessRules } from '../record/aggregates.js';
import { missing } from '../record/record.js';
import { type AccessRuleRow, accessRuleTable, credentialTable } from '../record/tables.js';

const base = { service: 'identity', policy: 'authenticated' } as const;
const all = '/v3/users/:user_id/access_rules';

/** Rules for what the programs of a user may ask; they are made along with application credentials. */
@Controller()
export class AccessRulesController {
  constructor(private readonly desk: IdentityDesk) {}

  @Operation({ ...base, method: 'GET', path: all })
  async list(call: Call) {
    const userId = call.params.user_id!;
    call.enforce('identity:list_access_rules', { target: { user: { id: userId } } });
    const rows = await (await this.desk.fresh()).find(accessRuleTable, { where: { userId } as never });
    rows.sort((a, b) => (a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0));
    const views = rows.map((row) => view(call, row));
    return collection(call, 'access_rules', filtered(call, views, ['service', 'path', 'method']));
  }

  @Operation({ ...base, method: 'GET', path: `${all}/:id` })
  async show(call: Call) {
    return { access_rule: view(call, await this.load(call, 'identity:get_access_rule')) };
  }

  @Operation({ ...base, method: 'DELETE', path: `${all}/:id`, status: 204 })
  async remove(call: Call) {
    const { id, userId } = await this.load(call, 'identity:delete_access_rule');
    const credentials = await (await this.desk.fresh()).find(credentialTable, { where: { userId } as never });
    if (credentials.some((c) => c.accessRuleIds?.includes(id))) throw forbidden('May not delete access rule in use');
    await this.desk.execute(accessRules, id, { type: 'delete', id }, call.context());
  }

  private async load(call: Call, rule: string): Promise<AccessRuleRow> {
    const { user_id: userId, id } = call.params;
    call.enforce(rule, { target: { user: { id: userId } } });
    const row = await (await this.desk.fresh()).get(accessRuleTable, id!);
    if (row?.userId !== userId) throw missing('Access Rule', id!);
    return row!;
  }
}

const view = (call: Call, { id, userId, service, method, path }: AccessRuleRow) => ({
  id,
  path,
  method,
  service,
  links: selfLink(call, `users/${userId}/access_rules/${id}`),
});
