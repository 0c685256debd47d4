import type { TokenContext } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { credentialsOf, Policy, readRules } from './engine.js';
import { compile } from './rule.js';

const credentials = (over: object = {}) => ({
  roles: ['member'],
  user_id: 'u1',
  project_id: 'p1',
  domain_id: null,
  ...over,
});
const holds = (rule: string, target: object = {}, over: object = {}) =>
  compile(rule)({ ...target }, credentials(over), () => {
    throw new Error('no rules');
  });

describe('a rule', () => {
  it.each([
    ['', true],
    ['@', true],
    ['!', false],
    ['role:member', true],
    ['role:MEMBER', true],
    ['role:admin', false],
    ['not role:admin', true],
    ['role:admin or role:member', true],
    ['role:admin or role:member and !', false],
    ['(role:admin or role:member) and @', true],
    ['not (role:admin or role:member)', false],
    ['project_id:%(project_id)s', true],
    ['user_id:%(user_id)s', false],
    ["'public':%(visibility)s", true],
    ['domain_id:None', true],
    ['not domain_id:None', false],
    ['domain_id:%(nothing)s', false],
    ['domain_id:%(owner)s', false],
    ['None:%(owner)s', true],
    ['project_id:%(network:project_id)s', true],
    ['project_id:%(target.project.id)s', true],
    ['token.project.domain.id:%(target.project.domain_id)s', true],
    ['is_admin:True', false],
    ['field:networks:router:external=True', true],
    ['field:port:device_owner=~^network:', true],
  ])('%s gives %s', (rule, expected) => {
    const target = {
      project_id: 'p1',
      user_id: 'u2',
      visibility: 'public',
      owner: null,
      'network:project_id': 'p1',
      target: { project: { id: 'p1', domain_id: 'd1' } },
      'router:external': true,
      device_owner: 'network:dhcp',
    };
    expect(holds(rule, target, { token: { project: { domain: { id: 'd1' } } }, is_admin: false })).toBe(expected);
  });

  it.each(['role', '(role:a', 'role:a)', 'role:a or', 'role:a role:b', 'http://x/y'])('%s is refused', (rule) => {
    expect(() => compile(rule)).toThrow(/policy rule/);
  });
});

describe('a policy', () => {
  it.each(['identity', 'compute', 'network', 'image', 'placement'] as const)(
    'of %s has readable defaults',
    (service) => {
      expect(() => new Policy(service)).not.toThrow();
    },
  );
  it("takes an operator's rules", () => {
    const rules = readRules('"os_compute_api:servers:show": "role:auditor"\n');
    const policy = new Policy('compute', rules);
    expect(policy.allows('os_compute_api:servers:show', credentials({ roles: ['auditor'] }), {})).toBe(true);
    expect(policy.allows('os_compute_api:servers:show', credentials(), { project_id: 'p1' })).toBe(false);
  });
  it('refuses rules that lead nowhere or in a circle', () => {
    expect(() => new Policy('compute', { a: 'rule:missing' })).toThrow(/does not exist/);
    expect(() => new Policy('compute', { a: 'rule:b', b: 'rule:a' })).toThrow(/itself/);
    expect(() => readRules('a: [1]')).toThrow();
  });
  it('lets an owner read and a stranger not', () => {
    const policy = new Policy('compute');
    const reader = credentialsOf({
      roles: [{ id: 'r', name: 'reader' }],
      projectId: 'p1',
      userId: 'u',
    } as TokenContext);
    expect(policy.allows('os_compute_api:servers:show', reader, { project_id: 'p1' })).toBe(true);
    expect(policy.allows('os_compute_api:servers:show', reader, { project_id: 'p2' })).toBe(false);
    expect(() => policy.enforce('os_compute_api:servers:create', reader, { project_id: 'p1' })).toThrow(
      "Policy doesn't allow os_compute_api:servers:create to be performed.",
    );
  });
});
