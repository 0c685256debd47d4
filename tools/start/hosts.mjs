import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { file, folder } from './home.mjs';
import { built } from './options.mjs';

/**
 * Lets a host of this machine into the cloud once; its key stays in the folder of its agent.
 * @param {import('./home.mjs').Home} home
 * @param {{ ask: (app: string, command: string, args?: object) => Promise<any> }} admin
 * @param {string} name
 * @param {import('./home.mjs').User | undefined} user whom its agent runs as
 * @returns {Promise<{ hostId: string, credentials: string }>}
 */
export const enroll = async (home, admin, name, user) => {
  const place = folder(join(home.data, 'agents', `${name}.key`), 0o700, user);
  const credentials = join(place, 'host.creds');
  const idFile = join(place, 'host-id');
  if (existsSync(credentials) && existsSync(idFile))
    return { hostId: readFileSync(idFile, 'utf8').trim(), credentials };
  const { createUserKey, credsText } = await built('libs/platform/dist/index.js');
  const keyFile = join(place, 'key.json');
  // Kept before it is used: a start that breaks off here goes on with the same key.
  if (!existsSync(keyFile)) file(keyFile, JSON.stringify(createUserKey()), 0o600, user);
  const key = JSON.parse(readFileSync(keyFile, 'utf8'));
  const { hostId, jwt } = await admin.ask('scheduler', 'host-enroll', { name, publicKey: key.publicKey });
  if (!jwt) throw new Error('the scheduler signs no host keys: OMNIVISOR_NATS_ACCOUNT_SEED_FILE is not set');
  file(idFile, `${hostId}\n`, 0o600, user);
  file(credentials, credsText(jwt, key.seed), 0o600, user);
  return { hostId, credentials };
};
