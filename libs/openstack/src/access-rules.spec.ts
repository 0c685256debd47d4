import { expect, it } from 'vitest';
import { isPathOf, isPermitted } from './access-rules.js';

it.each([
  ['/v2.1/servers', '/v2.1/servers', true],
  ['/v2.1/servers', '/v2.1/servers/1', false],
  ['/v2.1/servers/*', '/v2.1/servers/1', true],
  ['/v2.1/servers/*', '/v2.1/servers/1/action', false],
  ['/v2.1/servers/*', '/v2.1/servers/', false],
  ['/v2.1/servers/{server_id}/action', '/v2.1/servers/1/action', true],
  ['/v2.1/**', '/v2.1/servers/1/action', true],
  ['/v2.1/**/action', '/v2.1/servers/1/action', true],
  ['/v2.1/**/action', '/v2.1/servers/1/action/2', false],
  ['/v2/images/*.qcow2', '/v2/images/a.qcow2', true],
  ['/v2.1/.*', '/v2.1/servers', false],
  ['/v2.1/{', '/v2.1/{', true],
  ['', '', true],
])('the pattern %s has the path %s: %s', (pattern, path, expected) => {
  expect(isPathOf(pattern, path)).toBe(expected);
});

it('takes no longer for a pattern made to take long', () => {
  const before = process.cpuUsage();
  expect(isPathOf(`${'**a'.repeat(70)}b`, `/${'a'.repeat(8_000)}`)).toBe(false);
  const { user } = process.cpuUsage(before);
  expect(user).toBeLessThan(500_000);
});

it('permits what one of the rules permits, and nothing else', () => {
  const rules = [{ id: '1', service: 'compute', method: 'GET', path: '/v2.1/servers' }];
  const asked = { service: 'compute', method: 'GET', paths: ['/compute/v2.1/servers', '/v2.1/servers'] };
  expect(isPermitted(rules, asked)).toBe(true);
  expect(isPermitted(rules, { ...asked, method: 'POST' })).toBe(false);
  expect(isPermitted(rules, { ...asked, service: 'image' })).toBe(false);
  expect(isPermitted([], asked)).toBe(false);
});
