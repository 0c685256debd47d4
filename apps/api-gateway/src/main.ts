import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { ms } from '@omnivisor/contracts';
import { PostgresEventIndex } from '@omnivisor/eventsourcing/event-index';
import {
  PgLeadership,
  PostgresEventStore,
  PostgresHistory,
  PostgresReadModel,
} from '@omnivisor/eventsourcing/postgres';
import { PostgresSealStore } from '@omnivisor/eventsourcing/seal';
import { PostgresSnapshots } from '@omnivisor/eventsourcing/snapshot';
import { masterKeys, PostgresVault } from '@omnivisor/eventsourcing/vault';
import { readPolicies } from '@omnivisor/openstack';
import {
  Health,
  HealthServer,
  Lifecycle,
  loadConfig,
  logger,
  metricsRegistry,
  NatsBus,
  natsServers,
  RandomIds,
  readCredentials,
  SystemClock,
  serveConfig,
  serveHealth,
} from '@omnivisor/platform';
import { checkpointPlaces } from './audit/evidence/configured-places.js';
import { evidenceMetrics } from './audit/evidence/evidence-metrics.js';
import { threadVerifier } from './audit/evidence/log-verifier.js';
import { INDEX_RULE } from './audit/index/index-entry.js';
import { refusalMetrics } from './audit/refusal-metrics.js';
import { GatewayConfig, readSecret } from './config.js';
import { startGatewayApp } from './gateway-app.js';
import { gatewayProjections } from './projections.js';
import { relaysOf } from './relays.js';

const config = loadConfig(GatewayConfig, process.env);
const log = logger('api-gateway', config.OMNIVISOR_LOG_LEVEL);
const drain = config.OMNIVISOR_DRAIN_SECONDS * 1_000;
const lifecycle = new Lifecycle({ logger: log, grace: 15_000 + drain });
const onError = (where: string, err: unknown) => log.error({ err }, where);
const ids = new RandomIds();

const bus = await NatsBus.connect({
  servers: natsServers(config),
  name: `api-gateway ${hostname()}`,
  ...(config.OMNIVISOR_NATS_CREDS ? { credentials: await readCredentials(config.OMNIVISOR_NATS_CREDS) } : {}),
  onError,
  onStatus: (status) => log.info(`bus: ${status}`),
});
lifecycle.onStop('bus', () => bus.close());
const shown = await serveConfig(bus, 'api-gateway', GatewayConfig, process.env);
lifecycle.onStop('config', () => shown.close());
const url = config.OMNIVISOR_DATABASE_URL;
const schema = config.OMNIVISOR_DATABASE_SCHEMA;
const store = new PostgresEventStore({ url, ids });
lifecycle.onStop('event store', () => store.close());
const readModel = new PostgresReadModel({ url, schema });
lifecycle.onStop('read model', () => readModel.close());
const tables = gatewayProjections.map((p) => p.table as never);
await readModel.prepare(tables);
const history = new PostgresHistory({ url, schema });
lifecycle.onStop('history', () => history.close());
await history.prepare(tables);
const snapshots = new PostgresSnapshots({ url, schema });
lifecycle.onStop('snapshots', () => snapshots.close());
const eventIndex = new PostgresEventIndex({ url, schema, rule: INDEX_RULE });
lifecycle.onStop('index of the log', () => eventIndex.close());
await eventIndex.prepare();
const vault = new PostgresVault({
  url,
  schema,
  keys: masterKeys(readFileSync(config.OMNIVISOR_MASTER_KEY_FILE, 'utf8')),
});
lifecycle.onStop('vault', () => vault.close());
await vault.prepare();

const service = await startGatewayApp({
  ports: {
    clock: new SystemClock(),
    ids,
    bus,
    store,
    readModel,
    history,
    snapshots,
    random: Math.random,
    lag: ms(50),
    gather: ms(5),
  },
  vault,
  evidence: {
    seals: new PostgresSealStore(url),
    leadership: new PgLeadership(url, 'sealer', onError),
    origin: `omnivisor/${config.OMNIVISOR_CLOUD_ID}`,
    keyDays: config.OMNIVISOR_SEALING_KEY_DAYS,
    places: checkpointPlaces(config, bus),
    verifier: threadVerifier(url),
  },
  eventIndex,
  logger: log,
  patience: config.OMNIVISOR_PATIENCE,
  region: config.OMNIVISOR_REGION,
  tokenSeconds: config.OMNIVISOR_TOKEN_SECONDS,
  adminPassword: config.OMNIVISOR_ADMIN_PASSWORD_FILE && readSecret(config.OMNIVISOR_ADMIN_PASSWORD_FILE),
  imageUrl: config.OMNIVISOR_IMAGE_URL.replace(/\/+$/, ''),
  placementUrl: config.OMNIVISOR_PLACEMENT_URL.replace(/\/+$/, ''),
  publicUrl: config.OMNIVISOR_PUBLIC_URL,
  trustedProxies: config.OMNIVISOR_TRUSTED_PROXIES,
  consoleOrigins: config.OMNIVISOR_CONSOLE_ORIGINS,
  limits: {
    logins: config.OMNIVISOR_LIMIT_LOGINS,
    wrongTokens: config.OMNIVISOR_LIMIT_WRONG_TOKENS,
    uploads: config.OMNIVISOR_LIMIT_UPLOADS,
    lists: config.OMNIVISOR_LIMIT_LISTS,
  },
  ...(config.OMNIVISOR_POLICY_DIR ? { policies: readPolicies(config.OMNIVISOR_POLICY_DIR) } : {}),
  onError,
});
lifecycle.onStop('gateway', () => service.stop());

const relays = relaysOf(config, bus.connection, store, service, onError);
const health = new Health('api-gateway', [
  { name: 'bus', probe: () => bus.connected() },
  { name: 'event store', probe: async () => (await store.head()) >= 0 },
  { name: 'read model', probe: () => service.gateway.core.projector.assertGoing(), lasting: true },
  { name: 'seals', probe: () => service.evidence.failure === null },
  ...relays.map(({ name, relay }) => ({ name, probe: () => relay.failure === undefined })),
]);
const metrics = metricsRegistry('api-gateway');
refusalMetrics(metrics, service.refusals);
evidenceMetrics(metrics, service.evidence);
const healthServer = await HealthServer.listen(
  health,
  metrics,
  config.OMNIVISOR_HEALTH_LISTEN,
  config.OMNIVISOR_HEALTH_PORT,
);
const healthDesk = await serveHealth(bus, health);
lifecycle.onStop('health desk', () => healthDesk.close());
lifecycle.onStop('health', () => healthServer.close());
for (const { name, relay } of relays) {
  relay.start();
  lifecycle.onStop(name, () => relay.stop());
}
const port = await service.app.listen(config.OMNIVISOR_PORT, config.OMNIVISOR_LISTEN);
if (config.OMNIVISOR_AGENT_URL === undefined && config.OMNIVISOR_LISTEN !== '127.0.0.1')
  log.warn('OMNIVISOR_AGENT_URL is not set: consoles work on hosts of this machine only');
service.serveConsoles(config.OMNIVISOR_AGENT_URL ?? `ws://127.0.0.1:${port}`);
lifecycle.onStop('traffic', () => {
  health.markStopping();
  return service.app.drain(drain);
});
health.markReady();
log.info({ port }, 'the gateway is ready');
