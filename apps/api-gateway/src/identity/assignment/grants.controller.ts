import { Controller } from '@nestjs/common';
import type { RoleAssignment } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { collection } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { missing } from '../record/record.js';
import { assignmentTable, domainTable, groupTable, projectTable, roleTable, userTable } from '../record/tables.js';
import { roleView } from '../role/roles.controller.js';
import { assignmentKey, assignments } from './assignment.js';

type Verb = 'list' | 'check' | 'create' | 'revoke';

/** What a grant's URL speaks of. */
interface Grant {
  readonly actorKind: 'user' | 'group';
  readonly actorId: string;
  readonly scope: RoleAssignment['scope'];
  readonly inherited: boolean;
}

const service = 'identity';
const authenticated = 'authenticated';

const scopes = ['projects/:project_id', 'domains/:domain_id', 'system'] as const;
const actors = ['users/:user_id', 'groups/:group_id'] as const;
const inherit = ['projects/:project_id', 'domains/:domain_id'] as const;

const plain = scopes.flatMap((s) => actors.map((a) => `/v3/${s}/${a}/roles`));
const inherited = inherit.flatMap((s) => actors.map((a) => `/v3/OS-INHERIT/${s}/${a}/roles`));

/** The same operation on many paths. */
const OnEach =
  (method: 'GET' | 'HEAD' | 'PUT' | 'DELETE', paths: readonly string[], status: number) =>
  (target: object, name: string): void => {
    for (const path of paths) Operation({ service, method, path, policy: authenticated, status })(target, name);
  };

const one = [...plain.map((p) => `${p}/:role_id`), ...inherited.map((p) => `${p}/:role_id/inherited_to_projects`)];
const all = [...plain, ...inherited.map((p) => `${p}/inherited_to_projects`)];

@Controller()
export class GrantsController {
  constructor(private readonly desk: IdentityDesk) {}

  @OnEach('GET', all, 200)
  async list(call: Call) {
    const grant = await this.grant(call, 'list');
    const rows = await this.desk.fresh();
    const held = await rows.find(assignmentTable, {
      where: { actorId: grant.actorId, scopeId: grant.scope.id, inherited: grant.inherited } as never,
    });
    const found = await rows.getMany(
      roleTable,
      held.filter((a) => a.scopeKind === grant.scope.kind).map((a) => a.roleId),
    );
    return collection(
      call,
      'roles',
      [...found.values()].map((r) => roleView(call, r)),
    );
  }

  @OnEach('HEAD', one, 204)
  @OnEach('GET', one, 204)
  async check(call: Call) {
    await this.held(call, await this.grant(call, 'check'));
  }

  @OnEach('PUT', one, 204)
  async create(call: Call) {
    const grant = await this.grant(call, 'create');
    const assignment = await this.assignment(call, grant);
    await this.desk.execute(assignments, grant.actorId, { type: 'assign', assignments: [assignment] }, call.context());
  }

  @OnEach('DELETE', one, 204)
  async revoke(call: Call) {
    const grant = await this.grant(call, 'revoke');
    const assignment = await this.held(call, grant);
    await this.desk.execute(
      assignments,
      grant.actorId,
      { type: 'unassign', assignments: [assignment] },
      call.context(),
    );
  }

  private async held(call: Call, grant: Grant): Promise<RoleAssignment> {
    const assignment = await this.assignment(call, grant);
    const row = await (await this.desk.fresh()).get(assignmentTable, assignmentKey(assignment));
    if (!row)
      throw missing(
        'role assignment with role',
        `${assignment.roleId}, user or group: ${grant.actorId}, project, domain, or system: ${grant.scope.id}`,
      );
    return assignment;
  }

  private async assignment(call: Call, grant: Grant): Promise<RoleAssignment> {
    const id = call.params.role_id!;
    const role = await (await this.desk.fresh()).get(roleTable, id);
    if (!role) throw missing('role', id);
    return { ...grant, roleId: id as never };
  }

  /** Looks up both sides of the URL and asks the policy; what is missing is told only to who may see it. */
  private async grant(call: Call, verb: Verb): Promise<Grant> {
    const rows = await this.desk.fresh();
    const { user_id, group_id, project_id, domain_id, role_id } = call.params;
    const user = user_id === undefined ? undefined : await rows.get(userTable, user_id);
    const group = group_id === undefined ? undefined : await rows.get(groupTable, group_id);
    const project = project_id === undefined ? undefined : await rows.get(projectTable, project_id);
    const domain = domain_id === undefined ? undefined : await rows.get(domainTable, domain_id);
    const role = role_id === undefined ? undefined : await rows.get(roleTable, role_id);
    const target = {
      user: user && { id: user.id, domain_id: user.domainId },
      group: group && { id: group.id, domain_id: group.domainId },
      project: project && { id: project.id, domain_id: project.domainId },
      domain: domain && { id: domain.id },
      role: role && { name: role.name, domain_id: role.domainId },
    };
    const actorKind = user_id === undefined ? 'group' : 'user';
    const system = project_id === undefined && domain_id === undefined;
    const plural = verb === 'list' ? 'grants' : 'grant';
    call.enforce(system ? `identity:${verb}_system_${plural}_for_${actorKind}` : `identity:${verb}_${plural}`, {
      target,
    });
    if (user_id !== undefined && !user) throw missing('user', user_id);
    if (group_id !== undefined && !group) throw missing('group', group_id);
    if (project_id !== undefined && !project) throw missing('project', project_id);
    if (domain_id !== undefined && !domain) throw missing('domain', domain_id);
    const scope = project
      ? { kind: 'project', id: project.id }
      : domain
        ? { kind: 'domain', id: domain.id }
        : { kind: 'system', id: 'all' };
    return {
      actorKind,
      actorId: (user_id ?? group_id)!,
      scope: scope as RoleAssignment['scope'],
      inherited: call.operation.path.includes('/OS-INHERIT/'),
    };
  }
}
