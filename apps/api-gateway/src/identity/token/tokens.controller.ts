import { Controller } from '@nestjs/common';
import { DomainError, notFound, type TokenContext } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { LRUCache } from 'lru-cache';
import { AuthBody, type AuthRequest } from '../auth/auth-request.js';
import { collection, rootOf, selfLink } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { projectView } from '../project/projects.controller.js';
import { domainTable, projectTable } from '../record/tables.js';
import { domainsOf, hasSystemRole, projectsOf } from './scopes.js';
import { tokenView } from './token-view.js';

const service = 'identity';
const tokens = '/v3/auth/tokens';

/** Services ask about the same tokens again and again. */
const MAX_TEXTS = 500;

@Controller()
export class TokensController {
  private readonly texts = new LRUCache<TokenContext, { readonly asked: string; readonly text: string }>({
    max: MAX_TEXTS,
  });

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
    // Whoever has a token can find out by using it whether it is good: clients are told that it is gone.
    if (token !== undefined && !context) throw notFound('Could not find token.');
    call.enforce(rule, context ? { target: { token: { user_id: context.userId } } } : {});
    if (token === undefined || !context) throw notFound('Could not find token.');
    return { token, context };
  }

  private async answer(call: Call, token: string, context: TokenContext): Promise<Reply> {
    const headers = { 'content-type': 'application/json', 'x-subject-token': token, vary: 'X-Auth-Token' };
    return new Reply(await this.textOf(call, context), { headers });
  }

  /** What a token means, as text. Of another version of identity, its context is another object and its catalog may be. */
  private async textOf(call: Call, context: TokenContext): Promise<string> {
    const asked = `${this.desk.tokens.version} ${'nocatalog' in call.query} ${rootOf(call)}`;
    const known = this.texts.get(context);
    if (known?.asked === asked) return known.text;
    const text = JSON.stringify(await tokenView(this.desk, call, context));
    this.texts.set(context, { asked, text });
    return text;
  }
}
