import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serviceInbox } from '@omnivisor/platform';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
interface Secret {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly data?: Record<string, string>;
  readonly stringData?: Record<string, string>;
}
const run = (name: string, input: string) => {
  const args = [join(root, 'deploy/kubernetes', name), ...(name === 'make-secrets.mjs' ? ['cloud'] : [])];
  const done = spawnSync(process.execPath, args, { input, encoding: 'utf8' });
  const items = done.status === 0 ? (JSON.parse(done.stdout).items as Secret[]) : [];
  return { ...done, items };
};

const heard = (creds: string): string[] => {
  const [, jwt] = /-----BEGIN NATS USER JWT-----\n(\S+)/.exec(creds)!;
  return JSON.parse(Buffer.from(jwt!.split('.')[1]!, 'base64url').toString()).nats.sub.allow;
};
const seedIn = (creds: string) => /^SU\w+$/m.exec(creds)![0];
const base64 = (text: string) => Buffer.from(text).toString('base64');

it('credentials of a cluster are signed anew, with their keys, and nothing else is touched', () => {
  const made = run('make-secrets.mjs', '').items;
  const before = Object.fromEntries(made.map(({ metadata, stringData }) => [metadata.name, stringData!]));
  const cluster = made.map(({ metadata, stringData = {} }) => ({
    metadata: { ...metadata, resourceVersion: '7' },
    data: Object.fromEntries(Object.entries(stringData).map(([key, text]) => [key, base64(text)])),
  }));
  for (const items of [cluster, made]) {
    const renewed = run('renew-credentials.mjs', JSON.stringify({ items })).items;
    expect(renewed.map(({ metadata }) => metadata.name).sort()).toEqual([
      'api-gateway',
      'image-service',
      'omnivisor-cli',
      'scheduler',
    ]);
    for (const { metadata, data = {}, stringData } of renewed) {
      const { 'nats.creds': _, ...others } = data;
      const { 'nats.creds': __, ...kept } = cluster.find((secret) => secret.metadata.name === metadata.name)!.data;
      expect([metadata.namespace, others, stringData]).toEqual(['cloud', kept, undefined]);
      if (items === cluster) expect(metadata).toMatchObject({ resourceVersion: '7' });
      const creds = Buffer.from(data['nats.creds']!, 'base64').toString();
      expect(seedIn(creds)).toBe(seedIn(before[metadata.name]!['nats.creds']!));
      expect(heard(creds)).toContain(`${serviceInbox(metadata.name)}.>`);
    }
  }
});

it('credentials are not signed without the key of the account', () => {
  const { status, stdout, stderr } = run('renew-credentials.mjs', JSON.stringify({ items: [] }));
  expect([status === 0, stdout]).toEqual([false, '']);
  expect(stderr).toContain('no Secret scheduler with nats-account.seed');
});

describe('an upgrade by one command', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'omnivisor-upgrade-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  /** A kubectl that has these secrets, and writes down what else it is told. */
  const upgraded = (secrets: string) => {
    writeFileSync(join(dir, 'secrets.json'), secrets);
    const kubectl = `#!/bin/sh
case "$*" in *"get secrets"*) cat '${dir}/secrets.json';; *) echo "$*" >> '${dir}/told';; esac
case "$*" in *"-f -") cat > '${dir}/applied.json';; esac\n`;
    writeFileSync(join(dir, 'kubectl'), kubectl, { mode: 0o755 });
    const env = { PATH: `${dir}:${dirname(process.execPath)}:${process.env.PATH}` };
    const script = join(root, 'deploy/kubernetes/upgrade.sh');
    const { status } = spawnSync('sh', [script, 'k8s/overlays/single', 'cloud'], { env, encoding: 'utf8' });
    const read = (file: string) => (existsSync(join(dir, file)) ? readFileSync(join(dir, file), 'utf8') : '');
    return { status, told: read('told').trim().split('\n'), applied: read('applied.json') };
  };

  it('brings credentials before the release, and waits for all services', () => {
    const { stdout } = run('make-secrets.mjs', '');
    const { status, told, applied } = upgraded(stdout);
    expect(status).toBe(0);
    expect(JSON.parse(applied).items).toHaveLength(4);
    expect(told.map((line) => line.replace('-n cloud ', '').split(' ').slice(0, 2).join(' '))).toEqual([
      'replace -f',
      'delete job',
      'apply --server-side',
      'rollout restart',
      ...Array(3).fill('rollout status'),
    ]);
    expect(told[2]).toContain('-k k8s/overlays/single');
  });

  it('changes nothing when the secrets cannot be read', () => {
    expect(upgraded('{"items":[]}')).toMatchObject({ status: 1, told: [''], applied: '' });
  });
});
