#!/usr/bin/env node
/**
 * node deploy/kubernetes/make-secrets.mjs [NAMESPACE] [--tls] | kubectl apply -f -
 *
 * Makes the secrets of a new cloud and prints them as manifests.
 * --tls: for stores that speak it, as the overlay `production` wants (docs/operating/encryption.md).
 * Each run makes new ones: run it once for a cloud, and keep the output where you keep secrets. Needs npm ci && npm run build.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { argumentsOf } from '../../tools/arguments.mjs';
import { built } from '../../tools/start/options.mjs';
import { ROLES } from '../roles.mjs';

const {
  values: { tls: isEncrypted },
  positionals: [namespace = 'omnivisor'],
} = argumentsOf(import.meta.url, { allowPositionals: true, options: { tls: { type: 'boolean' } } });
const { servicePermissions } = await built('libs/contracts/dist/index.js');
const platform = await built('libs/platform/dist/index.js');
const { createAuthority, natsServerConfig, revokingAuthority, serviceCredentials } = platform;
const random = () => randomBytes(32).toString('base64url');
const authority = await createAuthority('omnivisor');
const owner = random();

const query = isEncrypted ? '?sslmode=verify-full&sslrootcert=/etc/omnivisor/authorities/ca.crt' : '';
/** The address of the database for one role. @param {string} user @param {string} password */
const database = (user, password) => `postgres://${user}:${password}@postgres.${namespace}.svc:5432/omnivisor${query}`;

const secret = (name, data) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, namespace, labels: { 'app.kubernetes.io/part-of': 'omnivisor' } },
  type: 'Opaque',
  stringData: data,
});

const credentials = (/** @type {string} */ service) =>
  serviceCredentials(authority, service, servicePermissions[service]);
const passwords = Object.fromEntries(ROLES.map((r) => [r.role, random()]));
const manifests = [
  secret('postgres-owner', {
    password: owner,
    url: database('postgres', owner),
  }),
  secret('database-roles', passwords),
  secret('nats-server', {
    'nats.conf': natsServerConfig({
      authority,
      listen: { host: '0.0.0.0', port: 4222 },
      storeDir: '/data/jetstream',
      serverName: 'nats-0',
      ...(isEncrypted ? { tls: { cert: '/etc/nats-tls/tls.crt', key: '/etc/nats-tls/tls.key' } } : {}),
    }),
  }),
  secret('cloud', { id: randomUUID() }),
];
for (const { service, role } of ROLES)
  manifests.push(
    secret(service, {
      'database-url': database(role, passwords[role]),
      'nats.creds': await credentials(service),
      ...(service === 'scheduler'
        ? { 'nats-account.seed': authority.accountSeed, 'nats-revoker.json': revokingAuthority(authority) }
        : {}),
      ...(service === 'image-service' ? { 'image-hmac.key': random() } : {}),
      ...(service === 'api-gateway' ? { 'master.key': random(), 'admin.password': random() } : {}),
    }),
  );
manifests.push(secret('omnivisor-cli', { 'nats.creds': await credentials('omnivisor-cli') }));

console.log(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests }, null, 2));
