import { readFile } from 'node:fs/promises';
import { ms } from '@omnivisor/contracts';
import { PgLeadership, PostgresEventStore } from '@omnivisor/eventsourcing/postgres';
import { PostgresSnapshots } from '@omnivisor/eventsourcing/snapshot';
import { BusTokenValidator, createOpenStackApp } from '@omnivisor/openstack';
import {
  Health,
  HealthServer,
  KeyRevoker,
  Lifecycle,
  loadConfig,
  logger,
  metricsRegistry,
  NatsBus,
  natsServers,
  RandomIds,
  RevokingAuthority,
  readCredentials,
  SystemClock,
  serveConfig,
  serveHealth,
} from '@omnivisor/platform';
import { SchedulerConfig } from './config.js';
import { SchedulerSettings } from './core/settings.js';
import { WORLD_VERSION } from './core/world-snapshot.js';
import { schedulerMetrics } from './metrics.js';
import { placementModule } from './placement/placement.module.js';
import { Scheduler } from './scheduler.js';

const config = loadConfig(SchedulerConfig, process.env);
const log = logger('scheduler', config.OMNIVISOR_LOG_LEVEL);
const drain = config.OMNIVISOR_DRAIN_SECONDS * 1_000;
const lifecycle = new Lifecycle({ logger: log, grace: 15_000 + drain });
const onError = (where: string, err: unknown) => log.error({ err }, where);

const bus = await NatsBus.connect({
  servers: natsServers(config),
  name: 'scheduler',
  ...(config.OMNIVISOR_NATS_CREDS ? { credentials: await readCredentials(config.OMNIVISOR_NATS_CREDS) } : {}),
  onError,
  onStatus: (status) => log.debug(`bus: ${status}`),
});
lifecycle.onStop('bus', () => bus.close());
const ids = new RandomIds();
const store = new PostgresEventStore({ url: config.OMNIVISOR_DATABASE_URL, ids });
lifecycle.onStop('store', () => store.close());
const snapshots = new PostgresSnapshots({
  url: config.OMNIVISOR_DATABASE_URL,
  schema: config.OMNIVISOR_DATABASE_SCHEMA,
});
lifecycle.onStop('snapshots', () => snapshots.close());

const revokerFile = config.OMNIVISOR_NATS_REVOKER_FILE;
const revoker =
  revokerFile &&
  (await KeyRevoker.connect(
    natsServers(config),
    RevokingAuthority.parse(JSON.parse(await readFile(revokerFile, 'utf8'))),
  ));
if (revoker) lifecycle.onStop('key revoker', () => revoker.close());

const seedFile = config.OMNIVISOR_NATS_ACCOUNT_SEED_FILE;
const scheduler = new Scheduler(
  {
    clock: new SystemClock(),
    ids,
    bus,
    store,
    snapshots: snapshots.of('world', WORLD_VERSION),
    lag: ms(100),
    leadership: new PgLeadership(config.OMNIVISOR_DATABASE_URL, 'scheduler', onError),
  },
  {
    cloudId: config.OMNIVISOR_CLOUD_ID,
    onError,
    settings: SchedulerSettings.parse({
      version: config.OMNIVISOR_SCHEDULER_SETTINGS_VERSION,
      cpuWeightMultiplier: config.OMNIVISOR_CPU_WEIGHT_MULTIPLIER ?? null,
      ramWeightMultiplier: config.OMNIVISOR_RAM_WEIGHT_MULTIPLIER ?? null,
      diskWeightMultiplier: config.OMNIVISOR_DISK_WEIGHT_MULTIPLIER ?? null,
      cpuAllocationRatio: config.OMNIVISOR_CPU_ALLOCATION_RATIO,
      ramAllocationRatio: config.OMNIVISOR_RAM_ALLOCATION_RATIO,
      diskAllocationRatio: config.OMNIVISOR_DISK_ALLOCATION_RATIO,
      reservedHostMemoryMib: config.OMNIVISOR_RESERVED_HOST_MEMORY_MB,
    }),
    ...(revoker ? { revokeKeys: (keys) => revoker.revoke(keys) } : {}),
    ...(seedFile ? { natsAccountSeed: (await readFile(seedFile, 'utf8')).trim() } : {}),
  },
);
const health = new Health('scheduler', [
  { name: 'nats', probe: () => bus.connected() },
  { name: 'store', probe: async () => (await store.head()) >= 0 },
  { name: 'log', probe: () => scheduler.core.assertGoing(), lasting: true },
]);
const metrics = metricsRegistry('scheduler');
schedulerMetrics(metrics, scheduler);
const probes = await HealthServer.listen(health, metrics, config.OMNIVISOR_HEALTH_LISTEN, config.OMNIVISOR_HEALTH_PORT);
lifecycle.onStop('health', () => probes.close());
const healthDesk = await serveHealth(bus, health);
lifecycle.onStop('health desk', () => healthDesk.close());

lifecycle.onStop('scheduler', () => scheduler.stop());
await scheduler.start();

const shown = await serveConfig(bus, 'scheduler', SchedulerConfig, process.env);
lifecycle.onStop('configuration', () => shown.close());

const app = await createOpenStackApp({
  module: placementModule(scheduler.core),
  services: ['placement'],
  lookingBack: (moment, read) => scheduler.core.lookingBack(moment, read),
  tokens: () => new BusTokenValidator(bus),
  logger: log,
  publicUrl: config.OMNIVISOR_PUBLIC_URL,
  trustedProxies: ['127.0.0.0/8', '::1'],
});
lifecycle.onStop('http', () => app.close());
const port = await app.listen(config.OMNIVISOR_PORT, config.OMNIVISOR_LISTEN);
lifecycle.onStop('traffic', () => {
  health.markStopping();
  return app.drain(drain);
});
log.info(`placement API on port ${port}, health on port ${probes.port}`);

/** Ready once the world has caught up with the log; the store may still be starting. */
const becomeReady = (): void => {
  if (scheduler.core.caughtUp) health.markReady();
  else scheduler.core.fresh().then(becomeReady, () => setTimeout(becomeReady, 200));
};
becomeReady();
