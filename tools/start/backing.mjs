import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { ROLES } from '../../deploy/roles.mjs';
import { greets, natsServerBinary, startNats } from '../services/nats.mjs';
import { postgresBinaries, startPostgres } from '../services/postgres.mjs';
import { freePort, Refused } from '../services/process.mjs';
import { file } from './home.mjs';
import { built } from './options.mjs';

/** A port of 127.0.0.1 that stays the same over restarts, unless somebody else took it meanwhile. */
const lastingPort = async (home, name) => {
  const path = join(home.data, `${name}.port`);
  if (existsSync(path)) {
    const port = Number(readFileSync(path, 'utf8'));
    const taken = await new Promise((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('close', () => socket.destroy());
    });
    if (!taken) return port;
  }
  const port = await freePort();
  file(path, `${port}\n`, 0o644, undefined);
  return port;
};

/**
 * PostgreSQL with the log and one login for each service.
 * @param {import('./home.mjs').Home} home
 * @param {import('./supervisor.mjs').Supervisor} supervisor
 * @param {string} root where its user finds node_modules
 * @returns {Promise<Record<string, string>>} address by service
 */
export const postgres = async (home, supervisor, root) => {
  const port = await lastingPort(home, 'postgres');
  const binaries = postgresBinaries(root);
  let server;
  await supervisor.run({
    name: 'postgres',
    start: async () => {
      server = await startPostgres({
        dir: join(home.data, 'postgres'),
        binaries,
        port,
        detached: true,
        ...(home.user ? { user: home.user } : {}),
      });
      return server;
    },
  });
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: server.url });
  client.on('error', () => {}); // a start that is ended takes the server from under it; its queries say so
  await client.connect();
  const { rowCount } = await client.query("select 1 from pg_database where datname = 'omnivisor'");
  if (rowCount === 0) await client.query('create database omnivisor');
  await client.end();
  const { migrate } = await built('libs/eventsourcing/dist/postgres/index.js');
  const roles = ROLES.map((r) => ({ ...r, password: home.secretText(`${r.role}.password`) }));
  await migrate(server.urlOf('omnivisor'), roles);
  return Object.fromEntries(roles.map((r) => [r.service, server.localUrlOf('omnivisor', r.role, r.password)]));
};

/** @param {string} url @returns {[port: number, host: string]} */
const addressOf = (url) => {
  const whole = url.includes('://') ? url : `nats://${url}`;
  if (!URL.canParse(whole)) throw new Refused(`NATS_URL: ${url} is no address`);
  const { hostname, port } = new URL(whole);
  return [Number(port || 4222), hostname.replace(/^\[|\]$/g, '')];
};

/**
 * NATS: the one at NATS_URL, or one of our own whose keys are made here.
 * @returns {Promise<{ url: string, accountSeedFile: string, revokerFile: string | undefined, credentials: (service: string) => Promise<string> }>} `credentials` gives a file
 */
export const nats = async (home, supervisor) => {
  const platform = await built('libs/platform/dist/index.js');
  const { servicePermissions } = await built('libs/contracts/dist/index.js');
  const credentialsBy = (accountSeed) => async (service) => {
    const path = join(home.secrets, `${service}.creds`);
    const before = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
    // Signed anew each time: what a service needs of the bus changes with the release.
    const creds = await platform.serviceCredentials({ accountSeed }, service, servicePermissions[service], before);
    file(path, creds, 0o600, home.user);
    return path;
  };
  const external = process.env.NATS_URL;
  if (external) {
    const answering = await Promise.all(external.split(',').map((url) => greets(...addressOf(url))));
    if (!answering.includes(true)) throw new Refused(`no NATS server answers at NATS_URL, ${external}`);
    const seed = readFileSync(process.env.OMNIVISOR_NATS_ACCOUNT_SEED_FILE ?? '', 'utf8').trim();
    return {
      url: external,
      accountSeedFile: home.secret('nats-account.seed', () => seed),
      revokerFile: process.env.OMNIVISOR_NATS_REVOKER_FILE,
      credentials: credentialsBy(seed),
    };
  }
  const path = join(home.secrets, 'nats-authority.json');
  if (!existsSync(path)) file(path, JSON.stringify(await platform.createAuthority('omnivisor')), 0o600, undefined);
  const authority = JSON.parse(readFileSync(path, 'utf8'));
  const binary = await natsServerBinary(join(home.data, 'cache'));
  const port = await lastingPort(home, 'nats');
  const dir = join(home.data, 'nats');
  const config = platform.natsServerConfig({ authority, storeDir: join(dir, 'jetstream'), serverName: 'omnivisor' });
  await supervisor.run({
    name: 'nats',
    start: () => startNats({ dir, binary, config, port, detached: true, ...(home.user ? { user: home.user } : {}) }),
  });
  return {
    url: `nats://127.0.0.1:${port}`,
    accountSeedFile: home.secret('nats-account.seed', () => authority.accountSeed),
    revokerFile: home.secret('nats-revoker.json', () => platform.revokingAuthority(authority)),
    credentials: credentialsBy(authority.accountSeed),
  };
};
