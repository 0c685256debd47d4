#!/usr/bin/env node
/**
 * node deploy/kubernetes/renew-credentials.mjs
 *
 * Signs anew what services and the command line may say and hear on NATS, as this release needs it: reads the secrets of
 * a cloud and prints those with credentials, whole: their keys kept and all else as it was.
 *   kubectl -n omnivisor get secrets -o json | node deploy/kubernetes/renew-credentials.mjs | kubectl replace -f -
 * They are replaced as they were read, or not at all. `kubectl apply` would take away what it is not told again.
 * `secrets.json` as make-secrets printed it is taken as well. Needs npm ci && npm run build.
 */
import { readFileSync } from 'node:fs';
import { argumentsOf } from '../../tools/arguments.mjs';
import { built } from '../../tools/start/options.mjs';

argumentsOf(import.meta.url);
const { servicePermissions } = await built('libs/contracts/dist/index.js');
const { serviceCredentials } = await built('libs/platform/dist/index.js');

const CREDENTIALS = 'nats.creds';
const SEED = 'nats-account.seed';

const { items = [] } = JSON.parse(readFileSync(0, 'utf8'));
const base64 = (text) => Buffer.from(text).toString('base64');
const textOf = ({ data = {}, stringData = {} }, key) =>
  stringData[key] ?? (data[key] === undefined ? undefined : Buffer.from(data[key], 'base64').toString('utf8'));

const accountSeed = textOf(items.find(({ metadata }) => metadata.name === 'scheduler') ?? {}, SEED)?.trim();
if (!accountSeed) throw new Error(`no Secret scheduler with ${SEED} came in`);

const renewed = [];
for (const secret of items) {
  const { name } = secret.metadata;
  const before = textOf(secret, CREDENTIALS);
  if (before === undefined || !Object.hasOwn(servicePermissions, name)) continue;
  const creds = await serviceCredentials({ accountSeed }, name, servicePermissions[name], before);
  const { stringData, ...stored } = secret;
  const texts = Object.entries(stringData ?? {}).map(([key, text]) => [key, base64(text)]);
  const data = { ...secret.data, ...Object.fromEntries(texts), [CREDENTIALS]: base64(creds) };
  renewed.push({ apiVersion: 'v1', kind: 'Secret', ...stored, data });
}
console.error(`signed anew: ${renewed.map(({ metadata }) => metadata.name).join(', ')}`);
console.log(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: renewed }, null, 2));
