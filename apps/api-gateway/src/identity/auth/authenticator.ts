import type { TokenContext } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { unauthenticated } from '@omnivisor/openstack';
import type { GatewayCore } from '../../core/gateway-core.js';
import {
  type CredentialRow,
  credentialTable,
  domainTable,
  projectTable,
  type UserRow,
  userTable,
} from '../record/tables.js';
import { rolesOn } from '../token/directory.js';
import type { TokenPayload, TokenScope } from '../token/payload.js';
import type { IssueRequest, TokenService } from '../token/token-service.js';
import type { AuthRequest, DomainRef, ScopeRequest, UserRef } from './auth-request.js';
import type { LoginGuard } from './login-guard.js';
import type { Passwords } from './passwords.js';

interface Bearer {
  readonly user: UserRow;
  readonly methods: readonly string[];
  readonly credential?: CredentialRow;
  readonly parent?: IssueRequest['parent'];
}

export type Issued = { token: string; context: TokenContext; payload: TokenPayload };

/** Turns proofs of identity into tokens. Every failure looks the same and takes as long as a success. */
export class Authenticator {
  constructor(
    private readonly core: GatewayCore,
    private readonly tokens: TokenService,
    private readonly passwords: Passwords,
    private readonly guard: LoginGuard,
  ) {}

  async login(request: AuthRequest, source: string): Promise<Issued> {
    const bearer = await this.identify(request, source);
    const scope = await this.scopeOf(bearer, request.scope, source);
    const issued = await this.tokens.issue({
      userId: bearer.user.id,
      methods: bearer.methods,
      scope,
      applicationCredentialId: bearer.credential?.id ?? null,
      ...(bearer.parent ? { parent: bearer.parent } : {}),
    });
    if (!issued) throw this.refused(source, bearer.user.id, 'scope');
    return issued;
  }

  private async identify({ identity }: AuthRequest, source: string): Promise<Bearer> {
    const { methods } = identity;
    if (methods.includes('token') && identity.token) return this.byToken(identity.token.id, source);
    if (methods.includes('application_credential') && identity.application_credential)
      return this.byCredential(identity.application_credential, source);
    if (methods.includes('password') && identity.password) return this.byPassword(identity.password.user, source);
    throw unauthenticated('Attempted to authenticate with an unsupported method.');
  }

  private async byPassword(ref: UserRef & { password: string }, source: string): Promise<Bearer> {
    const label = ref.id ?? `${ref.name}@${ref.domain?.id ?? ref.domain?.name}`;
    this.guard.admit(source, label);
    const rows = await this.core.fresh();
    const user = await findUser(rows, ref);
    const matches = await this.passwords.matches(user?.password ?? null, ref.password);
    if (!user || !matches || !(await usable(rows, user))) throw this.refused(source, label, 'password');
    this.guard.succeeded(source, label);
    return { user, methods: ['password'] };
  }

  private async byToken(token: string, source: string): Promise<Bearer> {
    const context = await this.tokens.validate(token);
    if (!context) throw this.refused(source, 'token', 'token');
    const rows = await this.core.fresh();
    const user = await rows.get(userTable, context.userId);
    // A credential lends its roles for one project: its token opens nothing else.
    if (!user || context.applicationCredentialId !== null) throw this.refused(source, 'token', 'token');
    const methods = [...new Set(['token', ...context.methods])];
    return {
      user,
      methods,
      parent: { expiresAt: Date.parse(context.expiresAt), auditIds: context.auditIds },
    };
  }

  private async byCredential(
    ref: { id?: string | undefined; name?: string | undefined; secret: string; user?: UserRef | undefined },
    source: string,
  ): Promise<Bearer> {
    const label = `credential ${ref.id ?? ref.name}`;
    this.guard.admit(source, label);
    const rows = await this.core.fresh();
    const credential = await findCredential(rows, ref);
    const matches = await this.passwords.matches(credential?.secret ?? null, ref.secret);
    const user = credential && (await rows.get(userTable, credential.userId));
    if (!credential || !matches || !user || !(await usable(rows, user)))
      throw this.refused(source, label, 'credential');
    this.guard.succeeded(source, label);
    return { user, methods: ['application_credential'], credential };
  }

  private async scopeOf(bearer: Bearer, scope: ScopeRequest | undefined, source: string): Promise<TokenScope> {
    const { user, credential } = bearer;
    if (credential) {
      if (scope !== undefined && scope !== 'unscoped')
        throw unauthenticated('Application credentials cannot request a scope.');
      return { kind: 'project', id: credential.projectId };
    }
    const rows = await this.core.fresh();
    if (scope === undefined) {
      const id = user.defaultProjectId;
      const project = id === null ? undefined : await rows.get(projectTable, id);
      if (!project?.enabled) return { kind: 'unscoped' };
      const own: TokenScope = { kind: 'project', id: project.id };
      return (await rolesOn(rows, user.id, own)).length > 0 ? own : { kind: 'unscoped' };
    }
    if (scope === 'unscoped') return { kind: 'unscoped' };
    if ('system' in scope && scope.system) return { kind: 'system' };
    if ('domain' in scope && scope.domain) {
      const id = await domainId(rows, scope.domain);
      if (id === undefined) throw this.refused(source, user.id, 'scope');
      return { kind: 'domain', id };
    }
    if ('project' in scope && scope.project) {
      const { project } = scope;
      if (project.id !== undefined) return { kind: 'project', id: project.id };
      const domain = await domainId(rows, project.domain ?? {});
      const found =
        domain === undefined
          ? []
          : await rows.find(projectTable, { where: { name: project.name!, domainId: domain } as never });
      if (!found[0]) throw this.refused(source, user.id, 'scope');
      return { kind: 'project', id: found[0].id };
    }
    return { kind: 'unscoped' };
  }

  private refused(source: string, user: string, reason: string) {
    this.guard.failed(source, user, reason);
    return unauthenticated();
  }
}

const usable = async (rows: RowReader, user: UserRow): Promise<boolean> =>
  user.enabled && (await rows.get(domainTable, user.domainId))?.enabled === true;

const domainId = async (rows: RowReader, ref: DomainRef): Promise<string | undefined> => {
  if (ref.id !== undefined) return ref.id;
  if (ref.name === undefined) return undefined;
  return (await rows.find(domainTable, { where: { name: ref.name } }))[0]?.id;
};

const findUser = async (rows: RowReader, ref: UserRef): Promise<UserRow | undefined> => {
  if (ref.id !== undefined) return rows.get(userTable, ref.id);
  const domain = await domainId(rows, ref.domain ?? {});
  if (domain === undefined || ref.name === undefined) return undefined;
  return (await rows.find(userTable, { where: { name: ref.name, domainId: domain } as never }))[0];
};

const findCredential = async (
  rows: RowReader,
  ref: { id?: string | undefined; name?: string | undefined; user?: UserRef | undefined },
): Promise<CredentialRow | undefined> => {
  if (ref.id !== undefined) return rows.get(credentialTable, ref.id);
  const user = ref.user && (await findUser(rows, ref.user));
  if (!user || ref.name === undefined) return undefined;
  return (await rows.find(credentialTable, { where: { userId: user.id } as never })).find((c) => c.name === ref.name);
};
