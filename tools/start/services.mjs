import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../services/process.mjs';
import { folder } from './home.mjs';
import { built, linkSettings, publicUrlOf } from './options.mjs';
import { program } from './supervisor.mjs';

/** Asks a service whether it is ready. @param {string} url */
export const answers = async (url) => {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(2_000) })).ok;
  } catch {
    return false;
  }
};

/** V8 lets a heap grow with the memory of the machine before it collects: on one machine that is for guests. */
const SMALL_HEAP = '--max-old-space-size=512';
/** MiB. The gateway keeps V8's own young generation: half of it costs a list of 1,000 servers a third more CPU. */
const SMALL_YOUNG = '--max-semi-space-size=4';

/** What a caller may say to all services; one that does not know a variable leaves it alone. */
export const PASSED = new RegExp(
  `^OMNIVISOR_(?:${[
    ...['PATIENCE', 'PROFILE', 'TRUSTED_PROXIES', 'LIMIT_\\w+', 'DRAIN_SECONDS', 'CONSOLE_ORIGINS'],
    ...['CADF', 'NOTIFICATIONS', 'SEALING_KEY_DAYS', 'CHECKPOINT_\\w+'],
    ...['IMAGE_MAX_\\w+', 'IMAGE_IDLE_SECONDS', 'IMAGE_MIN_RATE', 'IMAGE_CONVERSIONS'],
    ...['IMAGE_FORMS_\\w+', 'IMPORT_\\w+'],
    '\\w+_(?:ALLOCATION_RATIO|WEIGHT_MULTIPLIER)',
  ].join('|')})$`,
);

/** What the caller's environment says under such names. @param {(name: string) => boolean} isPassed */
const given = (isPassed, environment = process.env) =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => isPassed(name)));

/** How NATS is reached, and that only this machine reaches services and agents, is for a start to say. */
const OURS = /^OMNIVISOR_(NATS_\w+|HEALTH_LISTEN|MIGRATION_ADDRESS)$/;

/**
 * What a caller may say to agents: whatever they know, also by the name of a file. What a start says itself comes after it.
 * @param {{ shape: object }} schema of an agent's environment
 * @param {NodeJS.ProcessEnv} [environment] the caller's
 */
export const saidToAgents = ({ shape }, environment) =>
  given((name) => !OURS.test(name) && (name in shape || name.replace(/_FILE$/, '') in shape), environment);

/**
 * How each of our own services is started. What they are told is their environment, and nothing else
 * (docs/operating/configuration.md).
 */
export class Services {
  /** @param {{ home: import('./home.mjs').Home, runtime: { root: string, node: string }, nats: any, databases: Record<string, string>, options: any }} parts */
  constructor(parts) {
    Object.assign(this, parts);
    this.publicUrl = publicUrlOf(parts.options);
    this.links = linkSettings(parts.options, process.env.OMNIVISOR_TRUSTED_PROXIES);
  }

  async #common(service) {
    return {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      OMNIVISOR_LOG_LEVEL: process.env.OMNIVISOR_LOG_LEVEL ?? 'info',
      OMNIVISOR_NATS_URL: this.nats.url,
      OMNIVISOR_NATS_CREDS: await this.nats.credentials(service),
      OMNIVISOR_CLOUD_ID: this.home.id('cloud-id'),
      ...given((name) => PASSED.test(name)),
      ...(this.databases[service] ? { OMNIVISOR_DATABASE_URL: this.databases[service] } : {}),
    };
  }

  #program(name, app, env, user, ready) {
    const heap = app === 'api-gateway' ? [SMALL_HEAP] : [SMALL_HEAP, SMALL_YOUNG];
    return {
      ...program({
        name,
        log: this.home.log,
        command: this.runtime.node,
        args: ['--enable-source-maps', ...heap, join(this.runtime.root, 'apps', app, 'dist', 'main.js')],
        env,
        user,
        cwd: '/',
      }),
      ready,
    };
  }

  async scheduler() {
    this.placementPort = await freePort();
    const health = await freePort();
    return this.#program(
      'scheduler',
      'scheduler',
      {
        ...(await this.#common('scheduler')),
        OMNIVISOR_LISTEN: '127.0.0.1',
        OMNIVISOR_PORT: String(this.placementPort),
        OMNIVISOR_HEALTH_PORT: String(health),
        ...this.links,
        OMNIVISOR_NATS_ACCOUNT_SEED_FILE: this.nats.accountSeedFile,
        ...(this.nats.revokerFile ? { OMNIVISOR_NATS_REVOKER_FILE: this.nats.revokerFile } : {}),
      },
      this.home.user,
      () => answers(`http://127.0.0.1:${health}/health/ready`),
    );
  }

  async imageService() {
    this.imagePort = await freePort();
    const health = await freePort();
    return this.#program(
      'image-service',
      'image-service',
      {
        ...(await this.#common('image-service')),
        OMNIVISOR_LISTEN: '127.0.0.1',
        OMNIVISOR_PORT: String(this.imagePort),
        OMNIVISOR_HEALTH_PORT: String(health),
        ...this.links,
        // The gateway tells it what it was told.
        ...(this.links.OMNIVISOR_PUBLIC_URL ? {} : { OMNIVISOR_TRUSTED_PROXIES: '127.0.0.1' }),
        OMNIVISOR_IMAGE_URL: `http://127.0.0.1:${this.imagePort}`,
        OMNIVISOR_IMAGE_DIR: folder(join(this.home.data, 'images'), 0o700, this.home.user),
        OMNIVISOR_IMAGE_HMAC_KEY_FILE: this.home.secret('image-hmac.key'),
      },
      this.home.user,
      () => answers(`http://127.0.0.1:${health}/health/ready`),
    );
  }

  async gateway(index) {
    const port = this.options.port + index;
    const health = await freePort();
    const { listen } = this.options;
    return this.#program(
      `api-gateway-${index + 1}`,
      'api-gateway',
      {
        ...(await this.#common('api-gateway')),
        OMNIVISOR_LISTEN: listen,
        OMNIVISOR_PORT: String(port),
        OMNIVISOR_HEALTH_PORT: String(health),
        ...this.links,
        OMNIVISOR_IMAGE_URL: `http://127.0.0.1:${this.imagePort}`,
        OMNIVISOR_PLACEMENT_URL: `http://127.0.0.1:${this.placementPort}`,
        OMNIVISOR_CONSOLE_ORIGINS: [new URL(this.publicUrl).origin, process.env.OMNIVISOR_CONSOLE_ORIGINS ?? []]
          .flat()
          .join(','),
        OMNIVISOR_MASTER_KEY_FILE: this.home.secret('master.key'),
        OMNIVISOR_ADMIN_PASSWORD_FILE: this.home.secret('admin.password'),
      },
      this.home.user,
      () => answers(`http://127.0.0.1:${health}/health/ready`),
    );
  }

  /** @param {{ name: string, hostId: string, credentials: string, backends: string }} host */
  async agent({ name, hostId, credentials, backends }) {
    const fake = backends === 'fake';
    const user = fake ? this.home.user : undefined;
    const health = await freePort();
    const { AgentConfig } = await built('apps/compute-agent/dist/config.js');
    const state = folder(join(this.home.data, 'agents', name), fake ? 0o700 : 0o711, user);
    if (!existsSync(credentials)) throw new Error(`${credentials} is not there`);
    return this.#program(
      name,
      'compute-agent',
      {
        PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
        NODE_ENV: 'production',
        ...saidToAgents(AgentConfig),
        OMNIVISOR_NATS_URL: this.nats.url,
        OMNIVISOR_HOST_CREDS: credentials,
        OMNIVISOR_HOST_ID: hostId,
        OMNIVISOR_CLOUD_ID: this.home.id('cloud-id'),
        OMNIVISOR_STATE_DIR: state,
        OMNIVISOR_BACKENDS: backends,
        OMNIVISOR_NODE: name,
        OMNIVISOR_MACHINE_SHARES: String(Math.max(1, this.options.agents)),
        OMNIVISOR_HEALTH_PORT: String(health),
      },
      user,
      () => answers(`http://127.0.0.1:${health}/health/ready`),
    );
  }
}
