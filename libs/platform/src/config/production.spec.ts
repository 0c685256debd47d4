import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { natsSettings } from '../nats/tls.js';
import { checkConfig, loadConfig, secret, showConfig } from './config.js';
import { encrypted, profile } from './production.js';

const schema = encrypted(
  z.object({ OMNIVISOR_PROFILE: profile, ...natsSettings, OMNIVISOR_DATABASE_URL: secret(z.string()) }),
);
const local = 'postgres://u:hush@127.0.0.1/omnivisor';
const problems = (nats: string, database = local, more: object = {}) =>
  checkConfig(schema, {
    OMNIVISOR_PROFILE: 'production',
    OMNIVISOR_NATS_URL: nats,
    OMNIVISOR_DATABASE_URL: database,
    ...more,
  }).map(({ name, problem }) => `${name} ${problem}`);

describe('a production profile', () => {
  it.each([
    'tls://nats.example:4222',
    'tls://a.example:4222,tls://b.example:4222',
    ...['nats://127.0.0.1:4222', 'nats://localhost', 'nats://[::1]:4222', '127.0.0.1:4222', 'nats://127.0.0.9'],
  ])('takes NATS at %s', (url) => expect(problems(url)).toEqual([]));
  it.each([
    ['nats://nats.example:4222', /OMNIVISOR_NATS_URL is not encrypted/],
    ['nats.example:4222', /is not encrypted/],
    ['nats://10.0.0.1', /is not encrypted/],
    ['nats://0.0.0.0', /is not encrypted/],
    ['tls://a.example:4222,nats://b.example:4222', /is not encrypted/],
    ['tls://10.0.0.1:4222', /a certificate is of a name/],
    ['tls://[', /is no URL/],
  ])('refuses NATS at %s', (url, reason) => expect(problems(url)).toEqual([expect.stringMatching(reason)]));
  it('takes the authority of NATS for the wish to be encrypted', () =>
    expect(problems('nats://nats.example', local, { OMNIVISOR_NATS_CA_FILE: '/ca.crt' })).toEqual([]));

  const nats = 'nats://127.0.0.1:4222';
  it.each([
    'postgres://u:hush@db.example/omnivisor?sslmode=verify-full&sslrootcert=/ca.crt',
    ...['postgres://u@localhost/x', 'postgres://u@%2Frun%2Fpostgresql/x', 'postgres://u@x/x?host=/run/postgresql'],
  ])('takes PostgreSQL at %s', (url) => expect(problems(nats, url)).toEqual([]));
  it.each([
    'postgres://u:hush@db.example/omnivisor',
    ...['disable', 'prefer', 'require', 'no-verify', 'verify-ca'].map(
      (mode) => `postgres://u:hush@db/x?sslmode=${mode}`,
    ),
    'postgres://u:hush@127.0.0.1/x?host=db.example',
  ])('refuses PostgreSQL at %s, and does not repeat its password', (url) => {
    const [said, ...more] = problems(nats, url);
    expect([said, more]).toEqual([expect.stringMatching(/OMNIVISOR_DATABASE_URL is not encrypted/), []]);
    expect(said).not.toContain('hush');
  });

  it('tells every problem, and is not started with one', () => {
    expect(problems('nats://a.example', 'postgres://db.example/x')).toHaveLength(2);
    const env = { OMNIVISOR_NATS_URL: 'nats://a.example', OMNIVISOR_DATABASE_URL: 'postgres://db.example/x' };
    expect(() => loadConfig(schema, { ...env, OMNIVISOR_PROFILE: 'production' })).toThrow('2 problems');
    expect(loadConfig(schema, env)).toMatchObject({ OMNIVISOR_PROFILE: 'development' });
    expect(showConfig(schema, env).map((entry) => entry.name)).toContain('OMNIVISOR_NATS_CA_FILE');
  });
});
