import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { hostInbox, NatsBus, readCredentials } from '@omnivisor/platform';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort, waitFor } from '../services/process.mjs';
import { adminClient, demoClient } from './client.mjs';
import { reachablePlace } from './home.mjs';
import { ROOT } from './options.mjs';

const above = mkdtempSync(join(tmpdir(), 'ov-start-'));
chmodSync(above, 0o755);
const home = join(above, 'home');
/** Where a clone is mounted for a start, and for that start only. */
const closedClone = join(above, 'closed', 'omnivisor');
const env = { ...process.env, OMNIVISOR_HOME: home };
const here = fileURLToPath(new URL('.', import.meta.url));
const tool = (name: string, ...args: string[]) =>
  spawnSync(process.execPath, [join(here, name), ...args], { env, encoding: 'utf8', timeout: 120_000 });
const startOptions = (port: number) => [
  ...['--detach', '--agents', '0', '--fake-hosts', '1', '--skip-image', '--port', String(port)],
];
const startArguments = (port: number) => [join(here, 'start.mjs'), ...startOptions(port)];
const start = (port: number) => tool('start.mjs', ...startOptions(port));
const status = (): { name: string; pid: number | null; state: string; restarts: number }[] =>
  JSON.parse(tool('status.mjs', '--json').stdout);
const pidOf = (name: string): number => {
  const pid = status().find((s) => s.name === name)?.pid;
  if (!pid) throw new Error(`${name} does not run`);
  return pid;
};
/** The first call may still find a connection of the former gateway. */
const afterRestart = (client: typeof demoClient) =>
  waitFor(() => client(home).catch(() => undefined), { what: 'a login', timeout: 10_000 });

let port: number;

beforeAll(async () => {
  port = await freePort();
});
afterAll(() => {
  tool('stop.mjs');
  for (const folder of [above, reachablePlace(closedClone)]) rmSync(folder, { recursive: true, force: true });
});

describe('npm start', () => {
  it('changes nothing when the port is taken', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve));
    const refused = start(port);
    await new Promise((resolve) => other.close(resolve));
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toContain(`port ${port} of 127.0.0.1 is taken`);
    expect(existsSync(home)).toBe(false);
  });

  it('leaves nothing running when it is ended in the middle, and says so by its exit', async () => {
    const child = spawn(process.execPath, startArguments(port), { env, stdio: 'ignore' });
    const ended = once(child, 'exit');
    const services = await waitFor(() => status().some((s) => s.name === 'postgres') && status(), {
      what: 'PostgreSQL to be started',
      timeout: 60_000,
    });
    child.kill('SIGTERM');
    expect((await ended)[0]).not.toBe(0);
    expect(services.filter((s) => s.pid !== null && existsSync(`/proc/${s.pid}`))).toEqual([]);
    expect(status()).toEqual([]);
  }, 120_000);

  it('ends with a cloud that admin and demo can use, once, of two at the same moment', async () => {
    const both = [1, 2].map(() =>
      spawn(process.execPath, startArguments(port), { env, stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    const said = both.map((child) => text(child.stdout));
    const codes = await Promise.all(both.map(async (child) => (await once(child, 'exit'))[0]));
    expect(codes.filter((code) => code === 0)).toHaveLength(1);
    expect(await said[codes.indexOf(0)]).toContain('Omnivisor is ready');
    const admin = await adminClient(home);
    expect((await admin.get('compute', '/flavors')).flavors.map((f: { name: string }) => f.name)).toContain('m1.nano');
    const demo = await demoClient(home);
    expect((await demo.get('network', '/networks')).networks.map((n: { name: string }) => n.name)).toContain(
      'demo-net',
    );
  }, 180_000);

  it('keeps secrets to those they are for', () => {
    for (const file of ['openrc', 'openrc-demo', 'clouds.yaml', 'cli.creds', 'data/secrets/admin.password'])
      expect(statSync(join(home, file)).mode & 0o777, file).toBe(0o600);
  });

  it('runs nothing but the agent and its supervisor as root', () => {
    if (process.getuid?.() !== 0) return;
    for (const { name, pid } of status().filter((s) => s.name !== 'supervisor'))
      expect(statSync(`/proc/${pid}`).uid, name).not.toBe(0);
  });

  it('cuts off the key of a host that is retired', async () => {
    const file = join(above, 'guest-host.creds');
    const omnivisor = (...args: string[]) => tool('omnivisor.mjs', ...args, '--json').stdout;
    const { hostId } = JSON.parse(omnivisor('host', 'enroll', 'guest-host', '--out', file));
    const { natsUrl } = JSON.parse(readFileSync(join(home, 'run', 'state.json'), 'utf8'));
    const connect = async () =>
      NatsBus.connect({
        servers: natsUrl,
        name: 'guest-host',
        credentials: await readCredentials(file),
        inboxPrefix: hostInbox(hostId),
        wait: false,
      });
    const bus = await connect();
    expect(JSON.parse(omnivisor('host', 'retire', 'guest-host'))).toMatchObject({ state: 'retired' });
    await waitFor(() => !bus.connected(), { what: 'its connection to be cut', timeout: 10_000, interval: 50 });
    await expect(connect()).rejects.toMatchObject({ kind: 'forbidden' });
    await bus.close();
  });

  it('refuses a second start of the same cloud', () => {
    const refused = start(port);
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toContain('already');
  });

  it.each(['api-gateway-1', 'scheduler', 'image-service', 'fake-1', 'nats', 'postgres'])(
    'starts %s again when it is killed',
    async (name) => {
      const before = pidOf(name);
      process.kill(before, 'SIGKILL');
      await waitFor(() => status().some((s) => s.name === name && s.pid !== null && s.pid !== before), {
        what: `another ${name}`,
        timeout: 20_000,
        interval: 100,
      });
      await waitFor(
        () =>
          adminClient(home).then(
            (a) => a.get('compute', '/servers').then(() => true),
            () => false,
          ),
        {
          what: 'the API to answer again',
          timeout: 40_000,
          interval: 200,
        },
      );
    },
    90_000,
  );

  it('tells of what a killed supervisor left, and stop ends it', () => {
    process.kill(pidOf('supervisor'), 'SIGKILL');
    const refused = start(port + 1);
    expect(refused.stderr).toContain('end them with npm stop');
    expect(tool('stop.mjs').status).toBe(0);
    expect(status().filter((s) => s.pid !== null)).toEqual([]);
  });

  it('finds everything as it was', async () => {
    expect(start(port).status).toBe(0);
    const demo = await afterRestart(demoClient);
    expect((await demo.get('network', '/networks')).networks.map((n: { name: string }) => n.name)).toContain(
      'demo-net',
    );
    expect(tool('stop.mjs').status).toBe(0);
    expect(tool('status.mjs', '--json').stdout.trim()).toBe('[]');
  }, 120_000);

  it.runIf(process.getuid?.() === 0)(
    'runs from a copy when its user cannot pass the folders above the clone',
    async () => {
      mkdirSync(closedClone, { recursive: true });
      chmodSync(dirname(closedClone), 0o700);
      const mounted = 'mount --bind "$1" "$2" && cd / && shift 2 && exec "$@"';
      const command = [process.execPath, join(closedClone, 'tools/start/start.mjs'), ...startOptions(port)];
      const started = spawnSync(
        'unshare',
        ['--mount', '--propagation', 'private', 'sh', '-ec', mounted, 'sh', ROOT, closedClone, ...command],
        { env, encoding: 'utf8', timeout: 120_000 },
      );
      expect(started.stderr).toBe('');
      expect(started.status).toBe(0);
      const program = readFileSync(`/proc/${pidOf('api-gateway-1')}/cmdline`, 'utf8');
      expect(program).toContain(join(reachablePlace(closedClone), 'runtime'));
      const admin = await afterRestart(adminClient);
      expect((await admin.get('compute', '/os-services')).services).not.toEqual([]);
      expect(tool('stop.mjs').status).toBe(0);
      expect(statSync(dirname(closedClone)).mode & 0o777).toBe(0o700);
    },
    120_000,
  );
});
