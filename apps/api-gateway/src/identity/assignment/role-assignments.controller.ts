import { Controller } from '@nestjs/common';
import { invalid } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation } from '@omnivisor/openstack';
import { collection, flag, one } from '../common.js';
import { IdentityDesk } from '../desk.js';
import {
  type AssignmentRow,
  assignmentTable,
  domainTable,
  groupTable,
  projectTable,
  roleTable,
  userTable,
} from '../record/tables.js';
import { ancestorsOf, holdsOn, withImplied } from '../token/directory.js';

@Controller()
export class RoleAssignmentsController {
  constructor(private readonly desk: IdentityDesk) {}

  @Operation({ service: 'identity', method: 'GET', path: '/v3/role_assignments', policy: 'authenticated' })
  async list(call: Call) {
    const tree = flag(call, 'include_subtree');
    const projectId = one(call, 'scope.project.id');
    const rows = await this.desk.fresh();
    const scope = projectId === undefined ? undefined : await rows.get(projectTable, projectId);
    const target = {
      target: {
        domain_id: call.token.domainId ?? undefined,
        project: projectId === undefined ? undefined : { domain_id: scope?.domainId ?? projectId },
      },
    };
    call.enforce(tree ? 'identity:list_role_assignments_for_tree' : 'identity:list_role_assignments', target);
    if (tree && projectId === undefined)
      throw invalid('scope.project.id must be specified if include_subtree is also specified');
    if (one(call, 'user.id') !== undefined && one(call, 'group.id') !== undefined)
      throw invalid('Specify a user or group, not both');
    let list = await rows.find(assignmentTable);
    if (call.token.domainId !== null && !call.isAdmin) list = await within(rows, list, call.token.domainId);
    if (flag(call, 'effective')) list = await effective(rows, list);
    list = await this.filter(call, rows, list, tree);
    const names = flag(call, 'include_names') ? await Names.of(rows, list) : undefined;
    return collection(
      call,
      'role_assignments',
      list.map((a) => view(call, a, names)),
    );
  }

  private async filter(call: Call, rows: RowReader, list: AssignmentRow[], tree: boolean): Promise<AssignmentRow[]> {
    const [user, group, role, domain, project, system] = [
      'user.id',
      'group.id',
      'role.id',
      'scope.domain.id',
      'scope.project.id',
      'scope.system',
    ].map((n) => one(call, n));
    const inheritedOnly = one(call, 'scope.OS-INHERIT:inherited_to') === 'projects';
    const projects = new Set(project === undefined ? [] : [project]);
    if (tree)
      // A domain is the root of its projects.
      for (const row of await rows.find(projectTable))
        if (row.domainId === project || (await ancestorsOf(rows, row)).some((p) => p.id === project))
          projects.add(row.id);
    return list.filter(
      (a) =>
        (user === undefined || (a.actorKind === 'user' && a.actorId === user)) &&
        (group === undefined || (a.actorKind === 'group' && a.actorId === group)) &&
        (role === undefined || a.roleId === role) &&
        (domain === undefined || (a.scopeKind === 'domain' && a.scopeId === domain)) &&
        (project === undefined || (a.scopeKind === 'project' && projects.has(a.scopeId))) &&
        (system === undefined || a.scopeKind === 'system') &&
        (!inheritedOnly || a.inherited),
    );
  }
}

/** Assignments on a domain and its projects. */
const within = async (rows: RowReader, list: AssignmentRow[], domainId: string): Promise<AssignmentRow[]> => {
  const projects = new Set((await rows.find(projectTable, { where: { domainId } as never })).map((p) => p.id));
  return list.filter((a) =>
    a.scopeKind === 'domain' ? a.scopeId === domainId : a.scopeKind === 'project' && projects.has(a.scopeId),
  );
};

/** What users really may do: groups become their members, implied and inherited roles are spelt out. */
const effective = async (rows: RowReader, list: readonly AssignmentRow[]): Promise<AssignmentRow[]> => {
  const groups = new Map((await rows.find(groupTable)).map((g) => [g.id, g.members]));
  const projects = list.some((a) => a.inherited) ? await rows.find(projectTable) : [];
  const found = new Map<string, AssignmentRow>();
  for (const a of list) {
    const users = a.actorKind === 'user' ? [a.actorId] : (groups.get(a.actorId) ?? []);
    const roles = await withImplied(rows, [a.roleId]);
    const places: { scopeKind: AssignmentRow['scopeKind']; scopeId: string }[] = a.inherited ? [] : [a];
    for (const project of projects) {
      if (!a.inherited) break;
      const above = (await ancestorsOf(rows, project)).map((p) => p.id);
      if (holdsOn(a, { kind: 'project', id: project.id }, project.domainId, above))
        places.push({ scopeKind: 'project', scopeId: project.id });
    }
    for (const actorId of users)
      for (const role of roles)
        for (const { scopeKind, scopeId } of places)
          found.set(`${actorId}/${scopeKind}/${scopeId}/${role.id}`, {
            actorKind: 'user',
            actorId,
            scopeKind,
            scopeId,
            roleId: role.id,
            inherited: false,
          });
  }
  return [...found.values()];
};

type Named = { readonly name: string; readonly domainId?: string | null };

class Names {
  private constructor(
    private readonly known: ReadonlyMap<string, Named>,
    private readonly domains: ReadonlyMap<string, Named>,
  ) {}

  static async of(rows: RowReader, list: readonly AssignmentRow[]): Promise<Names> {
    const ids = (pick: (a: AssignmentRow) => string) => [...new Set(list.map(pick))];
    const known = new Map<string, Named>([
      ...(await rows.getMany(
        userTable,
        ids((a) => a.actorId),
      )),
      ...(await rows.getMany(
        groupTable,
        ids((a) => a.actorId),
      )),
      ...(await rows.getMany(
        projectTable,
        ids((a) => a.scopeId),
      )),
      ...(await rows.getMany(
        roleTable,
        ids((a) => a.roleId),
      )),
    ]);
    return new Names(known, new Map((await rows.find(domainTable)).map((d) => [d.id, d])));
  }

  of(id: string): object {
    const row = this.known.get(id);
    if (!row) return { id, name: this.domains.get(id)?.name ?? '' };
    const domain = row.domainId
      ? { domain: { id: row.domainId, name: this.domains.get(row.domainId)?.name ?? '' } }
      : {};
    return { id, name: row.name, ...domain };
  }
}

const view = (call: Call, a: AssignmentRow, names: Names | undefined) => {
  const ref = (id: string) => names?.of(id) ?? { id };
  const path = a.scopeKind === 'system' ? 'system' : `${a.scopeKind}s/${a.scopeId}`;
  const base = `${call.publicUrl}/v3/${a.inherited ? 'OS-INHERIT/' : ''}${path}/${a.actorKind}s/${a.actorId}/roles/${a.roleId}`;
  return {
    [a.actorKind]: ref(a.actorId),
    role: ref(a.roleId),
    scope: {
      ...(a.scopeKind === 'system' ? { system: { all: true } } : { [a.scopeKind]: ref(a.scopeId) }),
      ...(a.inherited ? { 'OS-INHERIT:inherited_to': 'projects' } : {}),
    },
    links: { assignment: a.inherited ? `${base}/inherited_to_projects` : base },
  };
};
