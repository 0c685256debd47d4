import { Controller } from '@nestjs/common';
import { type GroupAttributes, type IdentityDomainId, invalid } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, extraOf, filtered, given, Id, Name, one } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { groups } from '../record/aggregates.js';
import { missing } from '../record/record.js';
import { domainTable, type GroupRow, groupTable, userTable } from '../record/tables.js';
import { Removal } from '../removal.js';
import { userTarget, userView } from '../user/user.view.js';
import { groupTarget, groupView } from './group.view.js';

const fields = { name: Name, description: z.string().nullable().optional(), domain_id: Id.nullable().optional() };
const KNOWN = [...Object.keys(fields), 'id', 'links'];
const CreateBody = z.looseObject({ group: z.looseObject(fields) });
const UpdateBody = z.looseObject({ group: z.looseObject({ ...fields, name: Name.optional() }) });
const service = 'identity';
const member = '/v3/groups/:group_id/users/:user_id';

@Controller()
export class GroupsController {
  constructor(
    private readonly desk: IdentityDesk,
    private readonly removal: Removal,
  ) {}

  @Operation({ service, method: 'GET', path: '/v3/groups', policy: 'authenticated' })
  async list(call: Call) {
    const domainId = one(call, 'domain_id') ?? call.token.domainId ?? undefined;
    call.enforce('identity:list_groups', { target: { group: { domain_id: domainId } } });
    const own =
      call.token.domainId !== null && !call.isAdmin ? { where: { domainId: call.token.domainId } as never } : {};
    const rows = await (await this.desk.fresh()).find(groupTable, { ...own, orderBy: [['name', 'asc']] });
    return collection(
      call,
      'groups',
      filtered(
        call,
        rows.map((r) => groupView(call, r)),
        ['name', 'domain_id'],
      ),
    );
  }

  @Operation({ service, method: 'POST', path: '/v3/groups', policy: 'authenticated', body: CreateBody, status: 201 })
  async create(call: Call) {
    const { group } = call.body as z.infer<typeof CreateBody>;
    const domainId = (group.domain_id ??
      call.token.domainId ??
      call.token.projectDomainId ??
      'default') as IdentityDomainId;
    call.enforce('identity:create_group', { target: groupTarget({ domainId }) });
    if (!(await (await this.desk.fresh()).get(domainTable, domainId))) throw missing('domain', domainId);
    const id = this.desk.core.ids.hex();
    const at = this.desk.core.clock.now();
    await this.desk.names.take('group', domainId, group.name, id, at, call.context(), (o) => this.exists(o));
    const attributes: GroupAttributes = {
      name: group.name,
      domainId,
      description: group.description ?? '',
      extra: extraOf(group, KNOWN),
    };
    await this.desk.execute(groups, id, { type: 'create', id, attributes }, call.context());
    return { group: groupView(call, { ...attributes, id, createdAt: at, members: [] }) };
  }

  @Operation({ service, method: 'GET', path: '/v3/groups/:group_id', policy: 'authenticated' })
  async show(call: Call) {
    return { group: groupView(call, await this.load(call, 'identity:get_group')) };
  }

  @Operation({ service, method: 'PATCH', path: '/v3/groups/:group_id', policy: 'authenticated', body: UpdateBody })
  async update(call: Call) {
    const row = await this.load(call, 'identity:update_group');
    const { group } = call.body as z.infer<typeof UpdateBody>;
    if (group.domain_id !== undefined && group.domain_id !== row.domainId) throw invalid('Cannot change Domain ID.');
    const { name } = group;
    const renamed = name !== undefined && name !== row.name;
    const at = this.desk.core.clock.now();
    if (renamed)
      await this.desk.names.take('group', row.domainId, name, row.id, at, call.context(), (o) => this.exists(o));
    const description = group.description === null ? '' : group.description;
    const changes = given({ name, description, extra: extraOf(group, KNOWN) });
    await this.desk.execute(groups, row.id, { type: 'update', id: row.id, changes }, call.context());
    if (renamed) await this.desk.names.giveBack('group', row.domainId, row.name, row.id, call.context());
    return { group: groupView(call, (await (await this.desk.fresh()).get(groupTable, row.id)) ?? row) };
  }

  @Operation({ service, method: 'DELETE', path: '/v3/groups/:group_id', policy: 'authenticated', status: 204 })
  async remove(call: Call) {
    const row = await this.load(call, 'identity:delete_group');
    await this.removal.group(row, (step) => call.context(step));
  }

  @Operation({ service, method: 'GET', path: '/v3/groups/:group_id/users', policy: 'authenticated' })
  async members(call: Call) {
    const row = await this.load(call, 'identity:list_users_in_group');
    const users = [...(await (await this.desk.fresh()).getMany(userTable, row.members)).values()];
    return collection(
      call,
      'users',
      filtered(
        call,
        users.map((u) => userView(call, u)),
        ['name', 'enabled', 'domain_id'],
      ),
    );
  }

  @Operation({ service, method: 'PUT', path: member, policy: 'authenticated', status: 204 })
  async add(call: Call) {
    const { group, userId } = await this.pair(call, 'identity:add_user_to_group');
    await this.desk.execute(groups, group.id, { type: 'addMember', id: group.id, userId }, call.context());
  }

  @Operation({ service, method: 'GET', path: member, policy: 'authenticated', status: 204 })
  async check(call: Call) {
    const { group, userId } = await this.pair(call, 'identity:check_user_in_group');
    if (!group.members.includes(userId)) throw missing(`user in group ${group.id}`, userId);
  }

  @Operation({ service, method: 'DELETE', path: member, policy: 'authenticated', status: 204 })
  async leave(call: Call) {
    const { group, userId } = await this.pair(call, 'identity:remove_user_from_group');
    if (!group.members.includes(userId)) throw missing(`user in group ${group.id}`, userId);
    await this.desk.execute(groups, group.id, { type: 'removeMember', id: group.id, userId }, call.context());
  }

  private async pair(call: Call, rule: string): Promise<{ group: GroupRow; userId: string }> {
    const rows = await this.desk.fresh();
    const { group_id, user_id } = call.params;
    const group = await rows.get(groupTable, group_id!);
    const user = await rows.get(userTable, user_id!);
    call.enforce(rule, { target: { ...(group ? groupTarget(group) : {}), ...(user ? userTarget(user) : {}) } });
    if (!group) throw missing('group', group_id!);
    if (!user) throw missing('user', user_id!);
    return { group, userId: user.id };
  }

  private load(call: Call, rule: string): Promise<GroupRow> {
    return this.desk.load(call, rule, groupTable, call.params.group_id!, 'group', groupTarget);
  }

  private async exists(id: string): Promise<boolean> {
    return (await this.desk.core.commands.load(groups, id)).status === 'present';
  }
}
