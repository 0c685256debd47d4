import 'reflect-metadata';
import { hostname } from 'node:os';
import { ms } from '@omnivisor/contracts';
import { PostgresEventStore, PostgresHistory, PostgresReadModel } from '@omnivisor/eventsourcing/postgres';
import { BusTokenValidator } from '@omnivisor/openstack';
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
import { imageServiceConfig, readSigningKey } from './config.js';
import { imageProjections } from './image/image.projection.js';
import { startImageService } from './image-service.js';
import { EMULATOR, Sandbox } from './sandbox/sandbox.js';
import { FileImageStore } from './store/index.js';

const config = loadConfig(imageServiceConfig, process.env);
const log = logger('image-service', config.OMNIVISOR_LOG_LEVEL);
const drain = config.OMNIVISOR_DRAIN_SECONDS * 1_000;
const lifecycle = new Lifecycle({ logger: log, grace: 15_000 + drain });
const ids = new RandomIds();

const bus = await NatsBus.connect({
  servers: natsServers(config),
  name: `image-service ${hostname()}`,
  ...(config.OMNIVISOR_NATS_CREDS ? { credentials: await readCredentials(config.OMNIVISOR_NATS_CREDS) } : {}),
  onError: (where, err) => log.error({ err }, where),
});
lifecycle.onStop('NATS', () => bus.close());
const shown = await serveConfig(bus, 'image-service', imageServiceConfig, process.env);
lifecycle.onStop('config', () => shown.close());
const store = new PostgresEventStore({ url: config.OMNIVISOR_DATABASE_URL, ids });
lifecycle.onStop('event store', () => store.close());
const database = { url: config.OMNIVISOR_DATABASE_URL, schema: config.OMNIVISOR_DATABASE_SCHEMA };
const tables = imageProjections.map((p) => p.table as never);
const readModel = new PostgresReadModel(database);
lifecycle.onStop('read model', () => readModel.close());
await readModel.prepare(tables);
const history = new PostgresHistory(database);
lifecycle.onStop('history', () => history.close());
await history.prepare(tables);

/** Without one, images are served as they came and no tool ever sees them. */
const sandbox = (() => {
  try {
    const found = Sandbox.detect();
    const { isolation } = found;
    const missing = found.missing.filter((tool) => tool !== EMULATOR);
    log.info({ isolation }, 'converters run in a sandbox');
    if (missing.length > 0)
      log.warn({ missing }, 'images that these tools read or make are not looked into, nor converted');
    return found;
  } catch (err) {
    log.warn({ err }, 'images cannot be converted here');
    return null;
  }
})();
const service = await startImageService({
  ports: { clock: new SystemClock(), bus, ids, store, readModel, history, random: Math.random, lag: ms(200) },
  store: await FileImageStore.open(config.OMNIVISOR_IMAGE_DIR),
  settings: {
    maxImageSize: config.OMNIVISOR_IMAGE_MAX_BYTES,
    maxUploads: config.OMNIVISOR_IMAGE_MAX_UPLOADS,
    idleTimeout: config.OMNIVISOR_IMAGE_IDLE_SECONDS * 1_000,
    leastRate: config.OMNIVISOR_IMAGE_MIN_RATE,
    conversions: config.OMNIVISOR_IMAGE_CONVERSIONS,
    formsCapacity: config.OMNIVISOR_IMAGE_FORMS_BYTES,
    formsMaxAge: config.OMNIVISOR_IMAGE_FORMS_DAYS * 86_400_000,
    standstill: 3 * 60_000,
    patience: 20_000,
    imports: {
      ports: config.OMNIVISOR_IMPORT_PORTS.split(',').map(Number),
      networks: config.OMNIVISOR_IMPORT_NETWORKS.split(',').filter((n) => n !== ''),
    },
    signingKey: readSigningKey(config.OMNIVISOR_IMAGE_HMAC_KEY_FILE),
    internalUrl: config.OMNIVISOR_IMAGE_URL.replace(/\/+$/, ''),
  },
  tokens: new BusTokenValidator(bus),
  logger: log,
  sandbox,
  limits: { uploads: config.OMNIVISOR_LIMIT_UPLOADS, lists: config.OMNIVISOR_LIMIT_LISTS },
  publicUrl: config.OMNIVISOR_PUBLIC_URL,
  trustedProxies: config.OMNIVISOR_TRUSTED_PROXIES.split(',').filter((p) => p !== ''),
});
lifecycle.onStop('image service', () => service.stop());

const health = new Health('image-service', [
  { name: 'nats', probe: () => bus.connected() },
  { name: 'store', probe: async () => (await store.head()) >= 0 },
  { name: 'read model', probe: () => service.core.projector.assertGoing(), lasting: true },
]);
const healthServer = await HealthServer.listen(
  health,
  metricsRegistry('image-service'),
  config.OMNIVISOR_HEALTH_LISTEN,
  config.OMNIVISOR_HEALTH_PORT,
);
const healthDesk = await serveHealth(bus, health);
lifecycle.onStop('health desk', () => healthDesk.close());
lifecycle.onStop('health', () => healthServer.close());
await service.core.projector.catchUp();
const port = await service.app.listen(config.OMNIVISOR_PORT, config.OMNIVISOR_LISTEN);
lifecycle.onStop('traffic', () => {
  health.markStopping();
  return service.app.drain(drain);
});
health.markReady();
log.info({ port }, 'image service is ready');
