import { Controller } from '@nestjs/common';
import { DomainError, notFound, type TokenContext } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { AuthBody, type AuthRequest } from '../auth/auth-request.js';
import { collection, rootOf, selfLink } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { projectView } from '../project/projects.controller.js';
import { credentialTable, domainTable, projectTable } from '../record/tables.js';
import { domainsOf, hasSystemRole, projectsOf } from './scopes.js';

const service = 'identity';
const tokens = '/v3/auth/tokens';

@Controller()
export class TokensController {
  constructor(private readonly desk: IdentityDesk) {}

  @Operation({
    service,
    method: 'POST',
    path: tokens,
    policy: 'open',
    body: AuthBody,
    status: 201,
    bodyLimit: 64 * 1024,
  })
  async issue(call: Call) {
    const { auth } = call.body as { auth: AuthRequest };
    const { token, context } = await this.desk.authenticator.login(auth, call.address);
    return this.answer(call, token, context);
  }

  @Operation({ service, method: 'GET', path: tokens, policy: 'authenticated', live: true })
  async validate(call: Call) {
    const { token, context } = await this.subject(call, 'identity:validate_token');
    return this.answer(call, token, context);
  }

  @Operation({ service, method: 'HEAD', path: tokens, policy: 'authenticated' })
  async check(call: Call) {
    const { token } = await this.subject(call, 'identity:check_token');
    return new Reply(undefined, { headers: { 'x-subject-token': token, vary: 'X-Auth-Token' } });
  }

  @Operation({ service, method: 'DELETE', path: tokens, policy: 'authenticated', status: 204 })
  async revoke(call: Call) {
    const { context } = await this.subject(call, 'identity:revoke_token');
    await this.desk.tokens.revoke(context, call.context());
  }

  @Operation({ service, method: 'GET', path: '/v3/auth/catalog', policy: 'identity:get_auth_catalog' })
  async catalog(call: Call) {
    if (call.token.projectId === null)
      throw new DomainError('forbidden', 'A project-scoped token is required to produce a service catalog.');
    const catalog = await this.desk.catalog.of(await this.desk.fresh(), rootOf(call), call.token.projectId);
    return { catalog, links: selfLink(call, 'auth/catalog') };
  }

  @Operation({ service, method: 'GET', path: '/v3/auth/projects', policy: 'identity:get_auth_projects' })
  async projects(call: Call) {
    const rows = await this.desk.fresh();
    const found = await rows.getMany(projectTable, await projectsOf(rows, call.token.userId));
    return collection(
      call,
      'projects',
      [...found.values()].map((p) => projectView(call, p)),
    );
  }

  @Operation({ service, method: 'GET', path: '/v3/auth/domains', policy: 'identity:get_auth_domains' })
  async domains(call: Call) {
    const rows = await this.desk.fresh();
    const found = await rows.getMany(domainTable, await domainsOf(rows, call.token.userId));
    const view = ({
      id,
      name,
      description,
      enabled,
    }: {
      id: string;
      name: string;
      description: string;
      enabled: boolean;
    }) => ({
      id,
      name,
      description,
      enabled,
      links: selfLink(call, `domains/${id}`),
    });
    return collection(call, 'domains', [...found.values()].map(view));
  }

  @Operation({ service, method: 'GET', path: '/v3/auth/system', policy: 'identity:get_auth_system' })
  async system(call: Call) {
    const all = await hasSystemRole(await this.desk.fresh(), call.token.userId);
    return { system: all ? [{ all: true }] : [], links: selfLink(call, 'auth/system') };
  }

  /** The token the request is about, if the caller may know of it. */
  private async subject(call: Call, rule: string): Promise<{ token: string; context: TokenContext }> {
    const token = call.headers['x-subject-token'];
    const context = token === undefined ? null : await this.desk.tokens.validate(token, call.arrival);
    // A stranger learns nothing, not even whether the token is good.
    call.enforce(rule, context ? { target: { token: { user_id: context.userId } } } : {});
    if (token === undefined || !context) throw notFound('Could not find token.');
    return { token, context };
  }

  private async answer(call: Call, token: string, context: TokenContext): Promise<Reply> {
    // The token was validated a moment ago: the rows are at least as new as that.
    const { readModel: rows } = this.desk.core;
    const { version } = this.desk.tokens;
    const body: Record<string, unknown> = {
      methods: context.methods,
      user: {
        domain: { id: context.userDomainId, name: context.userDomainName },
        id: context.userId,
        name: context.userName,
        password_expires_at: null,
      },
      audit_ids: context.auditIds,
      expires_at: context.expiresAt,
      issued_at: context.issuedAt,
    };
    if (context.projectId !== null) {
      body.project = {
        domain: { id: context.projectDomainId, name: context.projectDomainName },
        id: context.projectId,
        name: context.projectName,
      };
      body.is_domain = false;
    } else if (context.domainId !== null) body.domain = { id: context.domainId, name: context.domainName };
    else if (context.system) body.system = { all: true };
    if (context.roles.length > 0) {
      body.roles = context.roles;
      if (!('nocatalog' in call.query))
        body.catalog = await this.desk.catalog.of(rows, rootOf(call), context.projectId, version);
    }
    if (context.applicationCredentialId !== null) {
      const credential = await rows.get(credentialTable, context.applicationCredentialId);
      body.application_credential = {
        id: context.applicationCredentialId,
        name: credential?.name ?? '',
        restricted: !credential?.unrestricted,
      };
    }
    return new Reply({ token: body }, { headers: { 'x-subject-token': token, vary: 'X-Auth-Token' } });
  }
}
