import { createHash } from 'node:crypto';
import {
  type CommandContext,
  type CommandId,
  DomainError,
  type IdentityDomainId,
  type ProjectId,
  type RequestId,
  type RoleId,
  type UserId,
} from '@omnivisor/contracts';
import { assignments } from './assignment/assignment.js';
import type { IdentityDesk } from './desk.js';
import { domains, projects, roles, users } from './record/aggregates.js';
import { userTable } from './record/tables.js';
import { TOKEN_KEYS, tokenKeys } from './token/token-service.js';

const idOf = (name: string): string =>
  createHash('sha256').update(`omnivisor/bootstrap/${name}`).digest('hex').slice(0, 32);

export const DEFAULT_DOMAIN = 'default' as IdentityDomainId;
/** The usual roles, and the one that each implies. `auditor` is ours: it reads what happened, and what is there. */
const ROLES: Readonly<Record<string, string | null>> = {
  admin: 'manager',
  manager: 'member',
  member: 'reader',
  reader: null,
  service: null,
  auditor: 'reader',
};

export const bootstrapIds = {
  project: (name: string) => idOf(`project/${name}`) as ProjectId,
  user: (name: string) => idOf(`user/${name}`) as UserId,
  role: (name: string) => idOf(`role/${name}`) as RoleId,
};

/** Another replica may make the same thing at the same time: then it is there, and that is what was wanted. */
const once = async (desk: IdentityDesk, ...args: Parameters<IdentityDesk['execute']>): Promise<void> => {
  try {
    await desk.execute(...args);
  } catch (error) {
    if (!(error instanceof DomainError) || error.kind !== 'conflict') throw error;
  }
};

const contextOf = (step: string): CommandContext => {
  const digest = createHash('sha256').update(`bootstrap/${step}`).digest('hex');
  const uuid = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-4${digest.slice(13, 16)}-8${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
  return {
    actor: { kind: 'service', service: 'api-gateway' },
    requestId: `req-${uuid}` as RequestId,
    correlationId: `req-${uuid}` as RequestId,
    causationId: null,
    commandId: `bootstrap/${step}` as CommandId,
  };
};

/**
 * Makes what a new cloud needs before anyone can log in: the Default domain, the usual roles, project and user `admin`,
 * a token key. What is there already is left as it is, a changed password too; several replicas may do so at once.
 * @param adminPassword undefined makes no admin: somebody else did
 */
export const bootstrap = async (desk: IdentityDesk, adminPassword: string | undefined): Promise<void> => {
  const { commands, clock } = desk.core;
  const at = clock.now();
  const taken = async () => true;
  const name = (kind: string, scope: string, value: string, owner: string) =>
    desk.names.take(kind, scope, value, owner, at, contextOf(`name/${kind}/${value}`), taken);

  if ((await commands.load(tokenKeys, TOKEN_KEYS)).indexes.length === 0)
    await desk.tokens.rotate((s) => contextOf(`key/${s}`));
  if ((await commands.load(domains, DEFAULT_DOMAIN)).status === 'none') {
    await name('domain', '', 'Default', DEFAULT_DOMAIN);
    const attributes = {
      name: 'Default',
      description: 'The default domain',
      enabled: true,
      tags: [],
      options: {},
      extra: {},
    };
    await once(desk, domains, DEFAULT_DOMAIN, { type: 'create', id: DEFAULT_DOMAIN, attributes }, contextOf('domain'));
  }
  for (const [role, implied] of Object.entries(ROLES)) {
    const id = bootstrapIds.role(role);
    const { status } = await commands.load(roles, id);
    if (status === 'deleted') continue;
    if (status === 'none') {
      try {
        await name('role', '', role, id);
      } catch (error) {
        // An operator's own role of this name: policy asks for the name, so that it serves as well.
        if (error instanceof DomainError && error.kind === 'conflict') continue;
        throw error;
      }
      const attributes = { name: role, domainId: null, description: null, options: {}, extra: {} };
      await once(desk, roles, id, { type: 'create', id, attributes }, contextOf(`role/${role}`));
    }
    // The command's id keeps an implication that an operator took away from coming back.
    if (implied !== null)
      await once(
        desk,
        roles,
        id,
        { type: 'imply', id, impliedId: bootstrapIds.role(implied) },
        contextOf(`imply/${role}`),
      );
  }
  if (adminPassword === undefined) return;
  const project = await bootstrapProject(desk, 'admin', 'Bootstrap project for initializing the cloud.');
  const admin = await bootstrapUser(desk, 'admin', adminPassword, project);
  const scopes = [{ kind: 'project', id: project } as const, { kind: 'system', id: 'all' } as const];
  await assign(
    desk,
    admin,
    scopes.map((scope) => ({ scope, role: 'admin' })),
  );
};

export const bootstrapProject = async (desk: IdentityDesk, name: string, description = ''): Promise<ProjectId> => {
  const id = bootstrapIds.project(name);
  if ((await desk.core.commands.load(projects, id)).status !== 'none') return id;
  const at = desk.core.clock.now();
  await desk.names.take('project', DEFAULT_DOMAIN, name, id, at, contextOf(`name/project/${name}`), async () => true);
  const attributes = {
    name,
    domainId: DEFAULT_DOMAIN,
    parentId: DEFAULT_DOMAIN as string,
    description,
    enabled: true,
    tags: [],
    options: {},
    extra: {},
  };
  await once(desk, projects, id, { type: 'create', id, attributes }, contextOf(`project/${name}`));
  return id;
};

export const bootstrapUser = async (
  desk: IdentityDesk,
  name: string,
  password: string,
  projectId: ProjectId,
): Promise<UserId> => {
  const id = bootstrapIds.user(name);
  const { status } = await desk.core.commands.load(users, id);
  const row = status === 'present' ? await (await desk.fresh()).get(userTable, id) : undefined;
  // A start that was interrupted may have left a user without a password.
  if (status === 'deleted' || row?.password) return id;
  const at = desk.core.clock.now();
  await desk.names.take('user', DEFAULT_DOMAIN, name, id, at, contextOf(`name/user/${name}`), async () => true);
  const attributes = {
    name,
    domainId: DEFAULT_DOMAIN,
    description: null,
    enabled: true,
    defaultProjectId: projectId,
    options: {},
    extra: {},
  };
  const stored = await desk.passwords.store(password);
  if (status === 'none') await once(desk, users, id, { type: 'create', id, attributes }, contextOf(`user/${name}`));
  const command = { type: 'setPassword' as const, id, password: stored, at, byUser: false };
  await once(desk, users, id, command, contextOf(`password/${name}`));
  return id;
};

export const assign = async (
  desk: IdentityDesk,
  userId: UserId,
  grants: readonly { scope: { kind: 'project'; id: ProjectId } | { kind: 'system'; id: 'all' }; role: string }[],
): Promise<void> => {
  const list = grants.map(({ scope, role }) => ({
    actorKind: 'user' as const,
    actorId: userId,
    scope,
    roleId: bootstrapIds.role(role),
    inherited: false,
  }));
  await once(desk, assignments, userId, { type: 'assign', assignments: list }, contextOf(`assign/${userId}`));
};
