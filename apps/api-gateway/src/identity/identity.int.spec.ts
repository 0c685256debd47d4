import { type Milliseconds, seconds } from '@omnivisor/contracts';
import { migrate, PostgresEventStore, PostgresReadModel } from '@omnivisor/eventsourcing/postgres';
import { startTestPostgres, type TestPostgres } from '@omnivisor/eventsourcing/testing';
import { masterKeys, PostgresVault } from '@omnivisor/eventsourcing/vault';
import { RandomIds, SystemClock } from '@omnivisor/platform/ports';
import { MemoryBus } from '@omnivisor/platform/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { GatewayCore } from '../core/gateway-core.js';
import { Identity } from './identity.js';
import { identityProjections } from './record/tables.js';

let server: TestPostgres;
let url: string;
const stops: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  server = await startTestPostgres(true);
  const owner = await server.database();
  const role = { service: 'api-gateway', role: 'role_gateway', password: 'x', schema: 'gateway' };
  await migrate(owner, [role]);
  url = server.as(owner, role.role, role.password);
});
afterAll(async () => {
  for (const stop of stops.reverse()) await stop();
  await server?.stop();
});

const replica = async (): Promise<Identity> => {
  const clock = new SystemClock();
  const ids = new RandomIds();
  const store = new PostgresEventStore({ url, ids });
  const readModel = new PostgresReadModel({ url, schema: 'gateway' });
  const vault = new PostgresVault({
    url,
    schema: 'gateway',
    keys: masterKeys(Buffer.alloc(32, 7).toString('base64')),
  });
  stops.push(
    () => store.close(),
    () => readModel.close(),
    () => vault.close(),
  );
  await readModel.prepare(identityProjections.map((p) => p.table as never));
  await vault.prepare();
  const core = new GatewayCore(
    { clock, ids, bus: new MemoryBus(clock), store, readModel, random: Math.random },
    identityProjections,
    () => {},
  );
  await core.start();
  stops.push(() => core.stop());
  const tokenLifetime = seconds(3600) as Milliseconds;
  const identity = new Identity(core, vault, { region: 'RegionOne', tokenLifetime, adminPassword: 'pw' });
  await identity.start();
  stops.push(() => identity.stop());
  return identity;
};

it("replicas on one database start together and honour each other's tokens and revocations", async () => {
  const [one, two] = await Promise.all([replica(), replica()]);
  const user = { name: 'admin', domain: { id: 'default' }, password: 'pw' };
  const scope = { project: { name: 'admin', domain: { id: 'default' } } };
  const auth = { identity: { methods: ['password'], password: { user } }, scope };
  const { token, context } = await one.desk.authenticator.login(auth, '127.0.0.1');
  expect((await two.desk.tokens.validate(token))?.roles.map((r) => r.name).sort()).toEqual([
    'admin',
    'manager',
    'member',
    'reader',
  ]);
  const before = process.cpuUsage();
  for (let i = 0; i < 500; i++) await two.desk.tokens.validate(token);
  const used = process.cpuUsage(before);
  expect((used.user + used.system) / 500 / 1000).toBeLessThan(0.5);
  const id = crypto.randomUUID();
  await one.desk.tokens.revoke(context, {
    actor: { kind: 'service', service: 'api-gateway' },
    requestId: `req-${id}` as never,
    correlationId: `req-${id}` as never,
    causationId: null,
    commandId: id as never,
  });
  expect(await two.desk.tokens.validate(token)).toBeNull();
});
