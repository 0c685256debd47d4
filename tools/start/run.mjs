import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../services/process.mjs';
import { adminBus } from './admin.mjs';
import { nats, postgres } from './backing.mjs';
import { Bootstrap } from './bootstrap.mjs';
import { cloudsYaml, openrc } from './clients.mjs';
import { Home } from './home.mjs';
import { enroll } from './hosts.mjs';
import { Refused, ROOT } from './options.mjs';
import { isRoot } from './preflight.mjs';
import { beganAt } from './processes.mjs';
import { runtime } from './runtime.mjs';
import { Services } from './services.mjs';
import { clearState, writeState } from './state.mjs';
import { Supervisor } from './supervisor.mjs';
import { installPackages, serviceUser } from './system.mjs';

const build = async () => {
  const done = await run(join(ROOT, 'node_modules/.bin/tsc'), ['-b'], { cwd: ROOT });
  if (done.code !== 0) throw new Refused(`the build failed:\n${done.stdout.trim()}`);
};

/** Builds the image in the background; its file, or why there is none, comes with the promise. */
const buildImage = (home) => {
  const args = [join(ROOT, 'tools/image/image.mjs'), '--cache', join(home.data, 'cache', 'image')];
  const built = run(process.execPath, args, { env: { ...process.env, OMNIVISOR_HOME: home.path } }).then((done) => {
    if (done.code !== 0) throw new Refused(`the test image could not be built: ${done.stderr.trim()}`);
    return done.stdout.trim().split('\n').at(-1);
  });
  built.catch(() => {}); // asked for later
  return () => built;
};

/**
 * A running cloud on this machine.
 * @param {any} options see startOptions
 * @param {string} homePath
 * @param {import('./progress.mjs').Progress} progress
 * @param {(stop: () => Promise<void>) => void} stoppable told how to end what has been started so far
 */
export const bringUp = async (options, homePath, progress, stoppable) => {
  if (isRoot() && options.agents > 0)
    await progress.step('Debian packages', () => installPackages((line) => progress.say(line)));
  await progress.step('build', build);
  const user = await serviceUser();
  const home = new Home(homePath, user);
  home.prepare();
  const where = await progress.step('program', () => runtime(user));

  const state = {
    supervisor: { pid: process.pid, began: /** @type {string} */ (beganAt(process.pid)) },
    endpoint: `http://${options.listen}:${options.port}`,
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
  const stop = async () => {
    await supervisor.stop();
    clearState(homePath);
  };

  stoppable(stop);

  try {
    const needsImage = options.bootstrap && options.agents > 0;
    const image = needsImage ? buildImage(home) : undefined;
    const databases = await progress.step('PostgreSQL', () => postgres(home, supervisor, where.root));
    const bus = await progress.step('NATS', () => nats(home, supervisor));
    state.natsUrl = bus.url;
    const services = new Services({ home, runtime: where, nats: bus, databases, options });
    await progress.step('services', async () => {
      await Promise.all([
        services.scheduler().then((s) => supervisor.run(s)),
        services.imageService().then((s) => supervisor.run(s)),
      ]);
      const gateways = Array.from({ length: options.gateways }, (_, i) => services.gateway(i));
      await Promise.all(gateways.map(async (s) => supervisor.run(await s)));
    });
    state.endpoint = services.publicUrl;

    const cli = home.forCaller('cli.creds', readFileSync(await bus.credentials('omnivisor-cli'), 'utf8'));
    await progress.step('hosts', async () => {
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
    const client = await progress.step('first answer', () => bootstrap.answers());
    if (options.bootstrap) {
      await progress.step('demo project and flavors', async () => {
        await bootstrap.demoProject(client);
        await bootstrap.flavors(client);
      });
      await progress.step('demo network', () => bootstrap.network());
      if (image) await progress.step('test image', () => bootstrap.image(client, image));
    }
    state.ready = true;
    keep();
    return { endpoint: services.publicUrl };
  } catch (error) {
    await stop();
    throw error;
  }
};

/** The last words of a start. */
export const farewell = (home, endpoint, seconds, detached) => `
Omnivisor is ready at ${endpoint} (${seconds} s)

  . ${home}/openrc        the admin          openstack server list --all-projects
  . ${home}/openrc-demo   a demo user        npm run demo
  OS_CLIENT_CONFIG_FILE=${home}/clouds.yaml  clouds omnivisor-admin and omnivisor-demo

  logs      ${home}/log/
  status    npm run status
  stop      ${detached ? 'npm stop' : 'Ctrl-C, or npm stop'}; guests go on running (npm stop -- --guests powers them off)
`;
