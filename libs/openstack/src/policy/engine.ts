import { DomainError, type TokenContext } from '@omnivisor/contracts';
import { parse } from 'yaml';
import type { ServiceType } from '../operation.js';
import { defaultRules } from './defaults/index.js';
import { type Check, type Credentials, compile, PolicySyntaxError, type RuleTable, type Target } from './rule.js';

/** The rules of one service: OpenStack's defaults under an operator's own. */
export class Policy {
  private readonly checks = new Map<string, Check>();

  /** @throws PolicySyntaxError for a rule that cannot be read, refers to no rule, or refers to itself */
  constructor(
    readonly service: ServiceType,
    overrides: RuleTable = {},
  ) {
    const rules = { ...defaultRules[service], ...overrides };
    for (const [name, text] of Object.entries(rules)) this.checks.set(name, compile(text));
    for (const name of Object.keys(rules)) assertGrounded(name, rules);
  }

  has(rule: string): boolean {
    return this.checks.has(rule);
  }

  /** @throws Error for a rule that the service does not have: a mistake of ours, not of the caller */
  allows(rule: string, credentials: Credentials, target: Target): boolean {
    return this.rule(rule)(target, credentials, this.rule);
  }

  /** @throws DomainError `forbidden` in the service's words */
  enforce(rule: string, credentials: Credentials, target: Target): void {
    if (!this.allows(rule, credentials, target)) throw this.refusal(rule);
  }

  refusal(rule: string): DomainError {
    return new DomainError('forbidden', REFUSALS[this.service](rule), {
      name: REFUSAL_NAMES[this.service] ?? 'DomainError',
    });
  }

  private readonly rule = (name: string): Check => {
    const check = this.checks.get(name);
    if (!check) throw new Error(`${this.service} has no policy rule ${name}`);
    return check;
  };
}

const REFUSALS: Readonly<Record<ServiceType, (rule: string) => string>> = {
  compute: (rule) => `Policy doesn't allow ${rule} to be performed.`,
  volume: (rule) => `Policy doesn't allow ${rule} to be performed.`,
  identity: (rule) => `You are not authorized to perform the requested action: ${rule}.`,
  network: (rule) => `rule:${rule} is disallowed by policy`,
  image: () => 'You are not authorized to complete this action.',
  placement: (rule) => `Policy does not allow ${rule} to be performed.`,
  audit: (rule) => `Policy does not allow ${rule} to be performed.`,
};
const REFUSAL_NAMES: { readonly [S in ServiceType]?: string } = { network: 'PolicyNotAuthorized' };

const assertGrounded = (name: string, rules: RuleTable, above: readonly string[] = []): void => {
  if (above.includes(name)) throw new PolicySyntaxError(name, `refers to itself by ${above.join(', ')}`);
  for (const [, next] of (rules[name] ?? '').matchAll(/(?<![\w.])rule:([^\s()]+)/g)) {
    if (!Object.hasOwn(rules, next!)) throw new PolicySyntaxError(name, `refers to rule ${next}, which does not exist`);
    assertGrounded(next!, rules, [...above, name]);
  }
};

/**
 * Rules of an operator's `policy.yaml`, or of JSON.
 * @throws PolicySyntaxError
 */
export const readRules = (text: string): RuleTable => {
  const document: unknown = parse(text) ?? {};
  if (typeof document !== 'object' || Array.isArray(document))
    throw new PolicySyntaxError('policy file', 'is no mapping');
  for (const [name, rule] of Object.entries(document as object))
    if (typeof rule !== 'string') throw new PolicySyntaxError(name, 'is no text');
  return document as RuleTable;
};

/** What a policy rule may ask of a token. */
export const credentialsOf = (token: TokenContext): Credentials => {
  const roles = token.roles.map((r) => r.name);
  return {
    user_id: token.userId,
    user_domain_id: token.userDomainId,
    project_id: token.projectId,
    tenant_id: token.projectId,
    project_domain_id: token.projectDomainId,
    domain_id: token.domainId,
    system_scope: token.system ? 'all' : null,
    is_admin: roles.includes('admin'),
    is_admin_project: token.isAdminProject,
    roles,
    service_roles: [],
    token: {
      user: { id: token.userId, domain: { id: token.userDomainId } },
      project: token.projectId === null ? undefined : { id: token.projectId, domain: { id: token.projectDomainId } },
      domain: token.domainId === null ? undefined : { id: token.domainId },
    },
  };
};
