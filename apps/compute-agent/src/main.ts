import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { at, hostBus, seconds } from '@omnivisor/contracts';
import {
  Health,
  HealthServer,
  Lifecycle,
  loadConfig,
  logger,
  metricsRegistry,
  NatsBus,
  natsServers,
  readCredentials,
  SystemClock,
} from '@omnivisor/platform';
import { Agent } from './agent/agent.js';
import { hello } from './agent/take-up.js';
import { AgentConfig } from './config.js';
import { openBest } from './drivers/open-best.js';
import { hostFacts } from './host/host-facts.js';
import { hostLock } from './host/host-lock.js';
import { hostUptime, isOwnMachine } from './host/host-uptime.js';
import { machineIdentity } from './host/machine-identity.js';
import { FileImageCache, noImageBytes } from './images/image-cache.js';
import { networkOffers } from './network/network-offers.js';
import { openNetwork } from './network/open-network.js';

/** Exit status: whoever took the host up after us has it now, so this agent is not to be started again. */
const SUPERSEDED = 4;

const config = loadConfig(AgentConfig, process.env);
const log = logger('compute-agent', config.OMNIVISOR_LOG_LEVEL).child({ host: config.OMNIVISOR_HOST_ID });
const lifecycle = new Lifecycle({ logger: log });
const onError = (where: string, err: unknown) => log.error({ err }, where);
const clock = new SystemClock();
const machine = machineIdentity();

await mkdir(config.OMNIVISOR_STATE_DIR, { recursive: true, mode: 0o755 });

const open = async () => {
  for (;;) {
    const opened = await openBest(config, clock);
    for (const probe of opened.probes) log.info({ probe }, `${probe.backend} is ${probe.health}: ${probe.reason}`);
    if (opened.driver) return opened;
    // Whoever looks at the host sees why nothing runs there.
    const said = { session: 0, probes: [...opened.probes] };
    await bus
      .request(hostBus.probed, said, at(hostBus.probed, config.OMNIVISOR_HOST_ID))
      .catch((error) => onError('telling of the probes', error));
    log.error('no hypervisor can be taken up here; probing again in 30 s');
    await clock.sleep(seconds(30));
  }
};

// Answers before a hypervisor was found: an agent that looks for one is alive, and not ready.
let connected = () => false;
const health = new Health('compute-agent', [{ name: 'bus', probe: () => connected() }]);
const server = await HealthServer.listen(
  health,
  metricsRegistry('compute-agent'),
  config.OMNIVISOR_HEALTH_LISTEN,
  config.OMNIVISOR_HEALTH_PORT,
);
lifecycle.onStop('health', () => server.close());

const bus = await NatsBus.connect({
  servers: natsServers(config),
  name: `compute-agent ${config.OMNIVISOR_HOST_ID}`,
  credentials: await readCredentials(config.OMNIVISOR_HOST_CREDS),
  inboxPrefix: `_INBOX_${config.OMNIVISOR_HOST_ID}`,
  onError,
  onStatus: (status) => log.info(`bus: ${status}`),
});
lifecycle.onStop('bus', () => bus.close());
connected = () => bus.connected();

type Opened = Awaited<ReturnType<typeof open>>;
const factsOf = async ({ driver, report, probes }: Opened) =>
  hostFacts(driver, report, probes, {
    node: config.OMNIVISOR_NODE ?? hostname(),
    hostIp: config.OMNIVISOR_HOST_IP,
    machineId: await machine.machineId(),
    bootId: await machine.bootId(),
    network: networkOffers(driver, Object.keys(config.OMNIVISOR_BRIDGES)),
    shares: driver.backend === 'fake' ? 1 : config.OMNIVISOR_MACHINE_SHARES,
  });

/** Resolves when no other agent drives this host on this machine: one that does is ended by a newer session. */
const alone = async () => {
  const path = join(config.OMNIVISOR_STATE_DIR, 'agent.lock');
  const free = await hostLock(path, 'try');
  if (free) return free;
  log.warn('another agent drives this host; it ends once this one has taken up the host');
  const opened = await open();
  await hello({ bus, hostId: config.OMNIVISOR_HOST_ID }, await factsOf(opened), randomUUID());
  await opened.driver.close();
  return (await hostLock(path, 'wait'))!;
};
lifecycle.onStop('lock', await alone());

const opened = await open();
const { driver, report } = opened;
const network = await openNetwork(config, driver, bus);
const agent = new Agent({
  hostId: config.OMNIVISOR_HOST_ID,
  cloudId: config.OMNIVISOR_CLOUD_ID,
  clock,
  bus,
  driver,
  network,
  images: driver.backend === 'fake' ? noImageBytes : new FileImageCache(join(config.OMNIVISOR_STATE_DIR, 'images')),
  facts: (report = opened.report) => factsOf({ ...opened, report }),
  ...(isOwnMachine(driver.backend, config) ? { uptime: () => hostUptime() } : {}),
  onError,
  random: Math.random,
  spawns: driver.backend === 'fake' ? 64 : config.OMNIVISOR_SPAWNS,
  patience: config.OMNIVISOR_PATIENCE,
  surveyEvery: seconds(config.OMNIVISOR_SURVEY_SECONDS),
});
lifecycle.onStop('agent', () => agent.stop());

await agent.start();
health.markReady();
log.info({ backend: driver.backend, version: report.version }, 'the host is taken up');
void agent.ended.then(({ details }) => {
  if (!details?.superseded) return lifecycle.end(1, 'the log does not know this session of the host');
  return lifecycle.end(SUPERSEDED, 'a newer session of this host has taken over');
});
