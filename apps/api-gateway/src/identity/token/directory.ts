import type { AccessRule, TokenContext } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import {
  type AssignmentRow,
  accessRuleTable,
  assignmentTable,
  type CredentialRow,
  credentialTable,
  type DomainRow,
  domainTable,
  groupTable,
  type ProjectRow,
  projectTable,
  type RoleRow,
  revokedTable,
  roleTable,
  type UserRow,
  userTable,
} from '../record/tables.js';
import { issuedAt, type TokenPayload, type TokenScope } from './payload.js';

/** A project lies at most this deep below its domain. */
const MAX_DEPTH = 5;

/** The assignments of a user, its groups' included. */
export const assignmentsOf = async (rows: RowReader, userId: string): Promise<AssignmentRow[]> => {
  const groups = await rows.find(groupTable, { where: { members: { contains: userId } } as never });
  return rows.find(assignmentTable, { where: { actorId: { in: [userId, ...groups.map((g) => g.id)] } } });
};

/** A project's ancestors, the nearest first, without the domain. */
export const ancestorsOf = async (rows: RowReader, project: ProjectRow): Promise<ProjectRow[]> => {
  const above: ProjectRow[] = [];
  let parent: string = project.parentId;
  while (parent !== project.domainId && above.length < MAX_DEPTH) {
    const row = await rows.get(projectTable, parent);
    if (!row) break;
    above.push(row);
    parent = row.parentId;
  }
  return above;
};

/** Whether an assignment gives its role on a scope. */
export const holdsOn = (
  a: AssignmentRow,
  scope: TokenScope,
  domainId: string,
  ancestors: readonly string[],
): boolean => {
  switch (scope.kind) {
    case 'unscoped':
      return false;
    case 'system':
      return a.scopeKind === 'system' && !a.inherited;
    case 'domain':
      return a.scopeKind === 'domain' && a.scopeId === scope.id && !a.inherited;
    case 'project':
      if (a.scopeKind === 'project') return a.inherited ? ancestors.includes(a.scopeId) : a.scopeId === scope.id;
      return a.scopeKind === 'domain' && a.inherited && a.scopeId === domainId;
  }
};

/** Roles with all that they imply. A domain's own roles count only by what they imply. */
export const withImplied = async (rows: RowReader, roleIds: readonly string[]): Promise<RoleRow[]> => {
  const known = new Map<string, RoleRow>();
  let wanted = [...new Set(roleIds)];
  while (wanted.length > 0) {
    const found = await rows.getMany(roleTable, wanted);
    for (const [id, row] of found) known.set(id, row);
    wanted = [...new Set([...found.values()].flatMap((r) => r.implies))].filter((id) => !known.has(id));
  }
  return [...known.values()].filter((r) => r.domainId === null);
};

/** The roles a user has on a scope. */
export const rolesOn = async (rows: RowReader, userId: string, scope: TokenScope): Promise<RoleRow[]> => {
  const all = await assignmentsOf(rows, userId);
  let domainId = '';
  let ancestors: string[] = [];
  if (scope.kind === 'project') {
    const project = await rows.get(projectTable, scope.id);
    if (!project) return [];
    domainId = project.domainId;
    if (project.parentId !== domainId) ancestors = (await ancestorsOf(rows, project)).map((p) => p.id);
  }
  const direct = all.filter((a) => holdsOn(a, scope, domainId, ancestors)).map((a) => a.roleId);
  return direct.length === 0 ? [] : withImplied(rows, direct);
};

const usable = (row: { enabled: boolean; invalidBefore: string | null } | undefined, issued: number): boolean =>
  row?.enabled === true && (row.invalidBefore === null || issued >= Date.parse(row.invalidBefore));

/** What a token means as things stand; null when its user, scope or roles are gone, disabled or ended. */
export const contextOf = async (rows: RowReader, payload: TokenPayload, now: string): Promise<TokenContext | null> => {
  const issued = issuedAt(payload);
  const user = await rows.get(userTable, payload.userId);
  if (!usable(user, issued)) return null;
  const userDomain = await rows.get(domainTable, user!.domainId);
  if (!usable(userDomain, issued)) return null;
  for (const auditId of payload.auditIds.slice(0, 1)) if (await rows.get(revokedTable, auditId)) return null;
  const base = contextBase(user!, userDomain!, payload);
  const { scope } = payload;
  if (scope.kind === 'unscoped') return base;
  let scoped = base;
  if (scope.kind === 'project') {
    const project = await rows.get(projectTable, scope.id);
    if (!usable(project, issued)) return null;
    const domain = await rows.get(domainTable, project!.domainId);
    if (!usable(domain, issued)) return null;
    scoped = {
      ...base,
      projectId: project!.id,
      projectName: project!.name,
      projectDomainId: domain!.id,
      projectDomainName: domain!.name,
    };
  } else if (scope.kind === 'domain') {
    const domain = await rows.get(domainTable, scope.id);
    if (!usable(domain, issued)) return null;
    scoped = { ...base, domainId: domain!.id, domainName: domain!.name };
  } else scoped = { ...base, system: true };
  let roles = await rolesOn(rows, payload.userId, scope);
  if (payload.applicationCredentialId !== null) {
    const credential = await rows.get(credentialTable, payload.applicationCredentialId);
    if (!credential || (credential.expiresAt !== null && credential.expiresAt <= now)) return null;
    if (scope.kind !== 'project' || scope.id !== credential.projectId) return null;
    const lent = new Set((await withImplied(rows, credential.roleIds)).map((r) => r.id));
    // A credential is worth nothing once its user lost one of the roles it lends.
    if (!credential.roleIds.every((id) => roles.some((r) => r.id === id))) return null;
    roles = roles.filter((r) => lent.has(r.id));
    const rules = await rulesOf(rows, credential);
    if (rules) scoped = { ...scoped, accessRules: rules };
  }
  return roles.length === 0 ? null : { ...scoped, roles: roles.map(({ id, name }) => ({ id, name })) };
};

/** The rules that bound a credential; undefined where none do. */
export const rulesOf = async (rows: RowReader, { accessRuleIds }: CredentialRow): Promise<AccessRule[] | undefined> => {
  if (!accessRuleIds?.length) return undefined;
  const found = await rows.getMany(accessRuleTable, accessRuleIds);
  // Stores find them in an order of their own.
  const rules = accessRuleIds.flatMap((id) => found.get(id) ?? []);
  return rules.map(({ id, service, method, path }) => ({ id, path, method, service }));
};

const contextBase = (user: UserRow, domain: DomainRow, payload: TokenPayload): TokenContext => ({
  userId: user.id,
  userName: user.name,
  userDomainId: domain.id,
  userDomainName: domain.name,
  projectId: null,
  projectName: null,
  projectDomainId: null,
  projectDomainName: null,
  domainId: null,
  domainName: null,
  system: false,
  roles: [],
  methods: [...payload.methods],
  auditIds: [...payload.auditIds],
  issuedAt: keystoneTime(issuedAt(payload)),
  expiresAt: keystoneTime(payload.expiresAt),
  applicationCredentialId: payload.applicationCredentialId,
  isAdminProject: true,
});

/** `2026-01-31T12:00:00.000000Z` */
export const keystoneTime = (ms: number): string => `${new Date(ms).toISOString().slice(0, -1)}000Z`;
