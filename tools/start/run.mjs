import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { install } from '../services/debian.mjs';
import { postgresPackages } from '../services/postgres.mjs';
import { Refused, run } from '../services/process.mjs';
import { adminBus } from './admin.mjs';
import { nats, postgres } from './backing.mjs';
import { Bootstrap } from './bootstrap.mjs';
import { cloudsYaml, openrc } from './clients.mjs';
import { installDependencies } from './dependencies.mjs';
import { Home } from './home.mjs';
import { enroll } from './hosts.mjs';
import { hold } from './lock.mjs';
import { dueImage, missingPackages, whyImageless } from './needs.mjs';
import { publicUrlOf, ROOT } from './options.mjs';
import { refuseSecond } from './preflight.mjs';
import { beganAt } from './processes.mjs';
import { runtime } from './runtime.mjs';
import { Services } from './services.mjs';
import { clearState, writeState } from './state.mjs';
import { Supervisor } from './supervisor.mjs';
import { ownerOf, serviceUser } from './system.mjs';

/** Seconds that one start waits for another of the same clone to have installed and built. */
const CLONE_PATIENCE = 600;

/** Milliseconds for a service to come up that has the whole log to read, as after an upgrade. */
const CATCH_UP = 600_000;

const build = async (owner, signal) => {
  const done = await run(join(ROOT, 'node_modules/.bin/tsc'), ['-b'], { cwd: ROOT, signal, ...owner });
  if (done.code !== 0) throw new Refused(`the build failed:\n${`${done.stdout}${done.stderr}`.trim()}`);
};

/** Builds the image in the background; its file, or why there is none, comes with the promise. */
const buildImage = (home, signal) => {
  const args = [join(ROOT, 'tools/image/image.mjs'), '--cache', join(home.data, 'cache', 'image')];
  const built = run(process.execPath, args, { signal, detached: true }).then((done) => {
    if (done.code !== 0) throw new Refused(`the test image could not be built: ${done.stderr.trim()}`);
    return done.stdout.trim().split('\n').at(-1);
  });
  built.catch(() => {}); // asked for later
  return () => built;
};

/** Rejects as soon as the signal says so. */
const orEnd = (work, signal) =>
  new Promise((resolve, reject) => {
    const end = () => reject(signal.reason);
    signal.addEventListener('abort', end);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', end));
  });

/**
 * A running cloud on this machine. When the start fails, or is ended by `signal`, nothing of it goes on running.
 * @param {any} options see startOptions
 * @param {string} homePath
 * @param {import('./progress.mjs').Progress} progress
 * @param {AbortSignal} signal
 */
export const bringUp = async (options, homePath, progress, signal) => {
  /** A step that is left when the start is to end; `whole`: one that has to be waited for. */
  const step = async (name, work, { whole = false } = {}) => {
    signal.throwIfAborted();
    const result = await progress.step(name, () => (whole ? work() : orEnd(Promise.resolve().then(work), signal)));
    signal.throwIfAborted();
    return result;
  };
  const user = await serviceUser();
  const home = new Home(homePath, user);
  home.prepare();
  const letGo = await hold(home.data);
  if (!letGo) throw new Refused(`another start of the cloud in ${homePath} is under way`);
  refuseSecond(homePath);

  const state = {
    supervisor: { pid: process.pid, began: /** @type {string} */ (beganAt(process.pid)) },
    endpoint: publicUrlOf(options),
    ready: false,
    /** @type {import('./state.mjs').ServiceState[]} */
    services: [],
  };
  const keep = () => {
    try {
      writeState(homePath, state);
    } catch (error) {
      progress.say(`writing down the state: ${error.message}`);
    }
  };
  keep();
  const supervisor = new Supervisor({
    log: home.log,
    say: (line) => progress.say(`${new Date().toISOString()} ${line}`),
    changed: (services) => {
      state.services = services;
      keep();
    },
  });
  const ended = new AbortController();
  const stop = async () => {
    ended.abort();
    await supervisor.stop();
    clearState(homePath);
    await letGo();
  };

  try {
    const packages = await missingPackages(homePath, options);
    if (packages.length > 0)
      await step('Debian packages', () => install(packages, (line) => progress.say(line)), { whole: true });
    const owner = ownerOf(ROOT);
    const done = await hold(ROOT, { wait: CLONE_PATIENCE });
    if (!done) throw new Refused(`another start installs and builds in ${ROOT}: try again when it is done`);
    const where = await (async () => {
      try {
        await step('npm packages', () => installDependencies(ROOT, { say: () => {}, signal, ...owner }));
        const database = postgresPackages(ROOT);
        if (database.length > 0) await step('PostgreSQL of Debian', () => install(database), { whole: true });
        await step('build', () => build(owner, signal));
        return await step('program', () => runtime(user));
      } finally {
        await done();
      }
    })();
    const due = dueImage(homePath, options);
    let imageless = due ? whyImageless(options) : null;
    const image = due && imageless === null ? buildImage(home, ended.signal) : undefined;
    const databases = await step('PostgreSQL', () => postgres(home, supervisor, where.root));
    const bus = await step('NATS', () => nats(home, supervisor));
    state.natsUrl = bus.url;
    const services = new Services({ home, runtime: where, nats: bus, databases, options });
    await step('services', async () => {
      await Promise.all([
        services.scheduler().then((s) => supervisor.run(s, CATCH_UP)),
        services.imageService().then((s) => supervisor.run(s, CATCH_UP)),
      ]);
      const gateways = Array.from({ length: options.gateways }, (_, i) => services.gateway(i));
      await Promise.all(gateways.map(async (s) => supervisor.run(await s, CATCH_UP)));
    });

    const cli = home.forCaller('cli.creds', readFileSync(await bus.credentials('omnivisor-cli'), 'utf8'));
    await step('hosts', async () => {
      const admin = await adminBus({ url: bus.url, credentialsFile: cli });
      try {
        const hosts = [
          ...Array.from({ length: options.agents }, (_, i) => ({
            name: `agent-${i + 1}`,
            backends: process.env.OMNIVISOR_BACKENDS ?? 'qemu',
          })),
          ...Array.from({ length: options.fakeHosts }, (_, i) => ({ name: `fake-${i + 1}`, backends: 'fake' })),
        ];
        const entered = [];
        for (const host of hosts) {
          const key = await enroll(home, admin, host.name, host.backends === 'fake' ? user : undefined);
          entered.push(await services.agent({ ...host, ...key }));
        }
        await Promise.all(entered.map((agent) => supervisor.run(agent)));
      } finally {
        await admin.close();
      }
    });

    const admin = { username: 'admin', password: home.secretText('admin.password'), project: 'admin' };
    const demo = { username: 'demo', password: home.secretText('demo.password'), project: 'demo' };
    home.forCaller('openrc', openrc(services.publicUrl, admin));
    home.forCaller('openrc-demo', openrc(services.publicUrl, demo));
    home.forCaller('clouds.yaml', cloudsYaml(services.publicUrl, { admin, demo }));
    const bootstrap = new Bootstrap({ home, publicUrl: services.publicUrl, admin, demo });
    const client = await step('first answer', () => bootstrap.answers());
    if (options.bootstrap) {
      await step('demo project and flavors', async () => {
        await bootstrap.demoProject(client);
        await bootstrap.flavors(client);
      });
      await step('demo network', () => bootstrap.network());
    }
    if (image)
      await step('test image', async () => {
        try {
          await bootstrap.image(client, image);
        } catch (error) {
          // Hosts that only pretend take any image.
          if (options.agents > 0 || !(error instanceof Refused)) throw error;
          imageless = error.message;
        }
      });
    if (imageless !== null) progress.say(`no test image: ${imageless}`);
    state.ready = true;
    keep();
    return { endpoint: services.publicUrl, stop };
  } catch (error) {
    await stop();
    throw error;
  }
};

/** The last words of a start. */
export const farewell = (home, endpoint, seconds, detached) => {
  const file = (name) =>
    /^[\w./-]+$/.test(home) ? `${home}/${name}` : `'${`${home}/${name}`.replaceAll("'", "'\\''")}'`;
  return `
Omnivisor is ready at ${endpoint} (${seconds} s)

  . ${file('openrc')}        the admin          openstack server list --all-projects
  . ${file('openrc-demo')}   a demo user        npm run demo
  OS_CLIENT_CONFIG_FILE=${file('clouds.yaml')}  clouds omnivisor-admin and omnivisor-demo

  logs      ${home}/log/
  status    npm run status
  stop      ${detached ? 'npm stop' : 'Ctrl-C, or npm stop'}; guests go on running (npm stop -- --guests powers them off)
`;
};
