import { Controller } from '@nestjs/common';
import { type IdentityDomainId, invalid, type UserAttributes, type UserId } from '@omnivisor/contracts';
import { type Call, Operation, unauthenticated } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, Enabled, extraOf, filtered, given, Id, Name, Options, one } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { groupView } from '../group/group.view.js';
import { projectView } from '../project/projects.controller.js';
import { users } from '../record/aggregates.js';
import { missing } from '../record/record.js';
import { domainTable, groupTable, projectTable, type UserRow, userTable } from '../record/tables.js';
import { Removal } from '../removal.js';
import { projectsOf } from '../token/scopes.js';
import { userTarget, userView } from './user.view.js';

const fields = {
  name: Name,
  description: z.string().nullable().optional(),
  enabled: Enabled.optional(),
  domain_id: Id.nullable().optional(),
  default_project_id: Id.nullable().optional(),
  password: z.string().nullable().optional(),
  options: Options.optional(),
};
const KNOWN = [...Object.keys(fields), 'id', 'links', 'password_expires_at', 'original_password'];
const CreateBody = z.looseObject({ user: z.looseObject(fields) });
const UpdateBody = z.looseObject({ user: z.looseObject({ ...fields, name: Name.optional() }) });
const PasswordBody = z.looseObject({
  user: z.looseObject({ original_password: z.string(), password: z.string().min(1) }),
});

@Controller()
export class UsersController {
  constructor(
    private readonly desk: IdentityDesk,
    private readonly removal: Removal,
  ) {}

  @Operation({ service: 'identity', method: 'GET', path: '/v3/users', policy: 'authenticated' })
  async list(call: Call) {
    const domainId = one(call, 'domain_id') ?? call.token.domainId ?? undefined;
    call.enforce('identity:list_users', { target: { domain_id: domainId } });
    const own =
      call.token.domainId !== null && !call.isAdmin ? { where: { domainId: call.token.domainId } as never } : {};
    const rows = await (await this.desk.fresh()).find(userTable, { ...own, orderBy: [['name', 'asc']] });
    return collection(
      call,
      'users',
      filtered(
        call,
        rows.map((r) => userView(call, r)),
        ['name', 'enabled', 'domain_id'],
      ),
    );
  }

  @Operation({
    service: 'identity',
    method: 'POST',
    path: '/v3/users',
    policy: 'authenticated',
    body: CreateBody,
    status: 201,
  })
  async create(call: Call) {
    const { user } = call.body as z.infer<typeof CreateBody>;
    const domainId = (user.domain_id ??
      call.token.domainId ??
      call.token.projectDomainId ??
      'default') as IdentityDomainId;
    call.enforce('identity:create_user', { target: { user: { domain_id: domainId } } });
    const rows = await this.desk.fresh();
    if (!(await rows.get(domainTable, domainId))) throw missing('domain', domainId);
    const id = this.desk.core.ids.hex() as UserId;
    const at = this.desk.core.clock.now();
    await this.desk.names.take('user', domainId, user.name, id, at, call.context(), (o) => this.exists(o));
    const password = typeof user.password === 'string' ? await this.desk.passwords.store(user.password) : null;
    const attributes: UserAttributes = {
      name: user.name,
      domainId,
      description: user.description ?? null,
      enabled: user.enabled ?? true,
      defaultProjectId: user.default_project_id ?? null,
      options: user.options ?? {},
      extra: extraOf(user, KNOWN),
    };
    await this.desk.execute(users, id, { type: 'create', id, attributes }, call.context());
    if (password)
      await this.desk.execute(
        users,
        id,
        { type: 'setPassword', id, password, at, byUser: false },
        call.context('password'),
      );
    return { user: userView(call, { ...attributes, id, createdAt: at, invalidBefore: null, password }) };
  }

  @Operation({ service: 'identity', method: 'GET', path: '/v3/users/:user_id', policy: 'authenticated' })
  async show(call: Call) {
    return { user: userView(call, await this.load(call, 'identity:get_user')) };
  }

  @Operation({
    service: 'identity',
    method: 'PATCH',
    path: '/v3/users/:user_id',
    policy: 'authenticated',
    body: UpdateBody,
  })
  async update(call: Call) {
    const row = await this.load(call, 'identity:update_user');
    const { user } = call.body as z.infer<typeof UpdateBody>;
    if (user.domain_id !== undefined && user.domain_id !== row.domainId) throw invalid('Cannot change Domain ID.');
    const { name } = user;
    const renamed = name !== undefined && name !== row.name;
    const at = this.desk.core.clock.now();
    if (renamed)
      await this.desk.names.take('user', row.domainId, name, row.id, at, call.context(), (o) => this.exists(o));
    const changes = given({
      name,
      description: user.description,
      enabled: user.enabled,
      defaultProjectId: user.default_project_id,
      options: user.options,
      extra: extraOf(user, KNOWN),
    });
    await this.desk.execute(users, row.id, { type: 'update', id: row.id, changes }, call.context());
    if (typeof user.password === 'string') await this.setPassword(call, row, user.password, false);
    if (renamed) await this.desk.names.giveBack('user', row.domainId, row.name, row.id, call.context());
    return { user: userView(call, (await (await this.desk.fresh()).get(userTable, row.id)) ?? row) };
  }

  @Operation({
    service: 'identity',
    method: 'DELETE',
    path: '/v3/users/:user_id',
    policy: 'authenticated',
    status: 204,
  })
  async remove(call: Call) {
    const row = await this.load(call, 'identity:delete_user');
    await this.removal.user(row, (step) => call.context(step));
  }

  /** Needs no token: the old password is the proof. */
  @Operation({
    service: 'identity',
    method: 'POST',
    path: '/v3/users/:user_id/password',
    policy: 'open',
    body: PasswordBody,
    status: 204,
  })
  async changePassword(call: Call) {
    const { user } = call.body as z.infer<typeof PasswordBody>;
    const id = call.params.user_id!;
    this.desk.guard.admit(call.address, id);
    const row = await (await this.desk.fresh()).get(userTable, id);
    const matches = await this.desk.passwords.matches(row?.password ?? null, user.original_password);
    if (!row?.enabled || !matches) {
      this.desk.guard.failed(call.address, id, 'password');
      throw unauthenticated();
    }
    await this.setPassword(call, row, user.password, true);
  }

  @Operation({ service: 'identity', method: 'GET', path: '/v3/users/:user_id/projects', policy: 'authenticated' })
  async projects(call: Call) {
    const row = await this.load(call, 'identity:list_user_projects');
    const rows = await this.desk.fresh();
    const found = await rows.getMany(projectTable, await projectsOf(rows, row.id));
    const views = [...found.values()].map((p) => projectView(call, p));
    return collection(call, 'projects', filtered(call, views, ['name', 'enabled', 'domain_id']));
  }

  @Operation({ service: 'identity', method: 'GET', path: '/v3/users/:user_id/groups', policy: 'authenticated' })
  async groups(call: Call) {
    const row = await (await this.desk.fresh()).get(userTable, call.params.user_id!);
    call.enforce('identity:list_groups_for_user', row ? { target: userTarget(row), user_id: row.id } : {});
    if (!row) throw missing('user', call.params.user_id!);
    const groups = await (await this.desk.fresh()).find(groupTable, {
      where: { members: { contains: row.id } } as never,
    });
    return collection(
      call,
      'groups',
      filtered(
        call,
        groups.map((g) => groupView(call, g)),
        ['name'],
      ),
    );
  }

  private async setPassword(call: Call, row: UserRow, password: string, byUser: boolean): Promise<void> {
    const stored = await this.desk.passwords.store(password);
    const at = this.desk.core.clock.now();
    const command = { type: 'setPassword' as const, id: row.id, password: stored, at, byUser };
    const context = call.context('password');
    const self = { kind: 'user' as const, userId: row.id, projectId: null, roles: [], address: call.address };
    await this.desk.execute(users, row.id, command, byUser ? { ...context, actor: self } : context);
    if (row.password) await this.desk.secrets.erase(row.password.ref);
  }

  private load(call: Call, rule: string): Promise<UserRow> {
    return this.desk.load(call, rule, userTable, call.params.user_id!, 'user', userTarget);
  }

  private async exists(id: string): Promise<boolean> {
    return (await this.desk.core.commands.load(users, id)).status === 'present';
  }
}
