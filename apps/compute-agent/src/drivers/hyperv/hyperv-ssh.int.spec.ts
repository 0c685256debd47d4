import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createConnection, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { recordDisks } from '../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { listen } from '../../../../../tools/doubles/hyperv/serve.mjs';
import { rootFrom, testGuest } from '../common/test-guest.js';
import type { OpenProcess } from './host-channel.js';
import { localProcess, sshProcess } from './host-processes.js';
import { HyperVDriver } from './hyperv.driver.js';
import { Images } from './testing/double.js';

const SSHD = '/usr/sbin/sshd';
const cloudId = 'test-cloud';
const script = 'C:\\ProgramData\\Omnivisor\\omnivisor-host.ps1';
const powershell = new URL('../../../../../tools/doubles/hyperv/powershell.mjs', import.meta.url).pathname;

const dir = mkdtempSync(join(tmpdir(), 'hyperv-ssh-'));
const host = new HyperVHost(join(dir, 'host'));
const images = new Images();
let server: Awaited<ReturnType<typeof listen>>;

beforeAll(async () => {
  await images.open();
  await host.open();
  server = await listen(host);
  process.env.OMNIVISOR_HYPERV_DOUBLE = server.path;
});
afterAll(async () => {
  delete process.env.OMNIVISOR_HYPERV_DOUBLE;
  await server.close();
  await host.close();
  images.close();
  rmSync(dir, { recursive: true });
});

const driverOver = (open: OpenProcess) =>
  new HyperVDriver({
    cloudId,
    nodes: [{ name: 'double', open }],
    switches: {},
    generation: 2,
    dynamicMemoryRatio: 1,
  });

/** The whole way of a guest through real processes. */
const livesThrough = async (driver: HyperVDriver) => {
  const id = ServerId.parse(randomUUID());
  const spec = testGuest(id, cloudId, { disks: rootFrom(images.record(64 << 20)) });
  expect(await driver.probe(AbortSignal.timeout(20_000))).toMatchObject({ health: 'healthy' });
  const done = new AbortController();
  const events = driver.events(done.signal)[Symbol.asyncIterator]();
  await driver.spawn({ ...spec, flavor: { ...spec.flavor, memory: mib(64) } }, done.signal);
  const said = async () => (await driver.consoleLog.tail(id, 1 << 20)).toString();
  await expect.poll(said).toMatch(/is up/);
  const console = await driver.consoles.open(id, 'serial');
  const echoed = new Promise((resolve) => console.readable.once('data', (bytes) => resolve(bytes.toString())));
  console.writable.write('typed');
  expect(await echoed).toBe('typed');
  console.close();
  await driver.powerOff(id, ms(10_000));
  expect(await driver.inspect(id)).toMatchObject({ power: 'shutdown' });
  expect((await events.next()).value).toEqual({ serverId: id });
  await driver.destroy(id);
  expect(await driver.list()).toEqual([]);
  done.abort();
  await driver.close();
};

it('drives PowerShell as a child of its own', { timeout: 60_000 }, () =>
  livesThrough(driverOver(localProcess(script, powershell))),
);

it('says what is wrong when there is no PowerShell', async () => {
  const driver = driverOver(localProcess(script, '/nonexistent/powershell.exe'));
  expect(await driver.probe(AbortSignal.timeout(5_000))).toMatchObject({
    health: 'unhealthy',
    reason: expect.stringContaining('ENOENT'),
  });
  await driver.close();
});

const freePort = () =>
  new Promise<number>((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });

describe.runIf(existsSync(SSHD))('by ssh', () => {
  let port: number;
  let servePort: number;
  let sshd: ChildProcess;
  const file = (name: string) => join(dir, name);
  const keygen = (name: string) => execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);

  beforeAll(async () => {
    [port, servePort] = [await freePort(), await freePort()];
    for (const name of ['host_key', 'user_key', 'other_key']) keygen(name);
    writeFileSync(file('authorized_keys'), readFileSync(file('user_key.pub')), { mode: 0o600 });
    writeFileSync(file('known_hosts'), `[127.0.0.1]:${port} ${readFileSync(file('host_key.pub'), 'utf8')}`);
    writeFileSync(file('wrong_hosts'), `[127.0.0.1]:${port} ${readFileSync(file('other_key.pub'), 'utf8')}`);
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
    // As on the Windows host: whatever the client asks for, it gets the host script.
    writeFileSync(
      file('sshd_config'),
      [
        `Port ${port}`,
        'ListenAddress 127.0.0.1',
        `HostKey ${file('host_key')}`,
        `AuthorizedKeysFile ${file('authorized_keys')}`,
        `PidFile ${file('sshd.pid')}`,
        'StrictModes no',
        'PasswordAuthentication no',
        'PermitRootLogin prohibit-password',
        `ForceCommand OMNIVISOR_HYPERV_DOUBLE=${server.path} ${process.execPath} ${powershell}`,
      ].join('\n'),
    );
    sshd = spawn(SSHD, ['-D', '-e', '-f', file('sshd_config')], { stdio: 'ignore' });
    await vi.waitFor(
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = createConnection(port, '127.0.0.1', () => {
            socket.destroy();
            resolve();
          }).on('error', reject);
        }),
      { timeout: 10_000 },
    );
  });
  afterAll(async () => {
    const ended = new Promise((resolve) => sshd.once('exit', resolve));
    sshd.kill();
    await ended;
  });

  const target = (knownHosts: string, identity = 'user_key') =>
    sshProcess({
      host: '127.0.0.1',
      port,
      user: userInfo().username,
      identityFile: file(identity),
      knownHostsFile: file(knownHosts),
      script,
    });

  it('drives a host that forces the command', { timeout: 90_000 }, () =>
    livesThrough(driverOver(target('known_hosts'))),
  );

  it('carries the suite that verifies a real host', { timeout: 120_000 }, async () => {
    const image = join(images.folder, 'verify.vhdx');
    recordDisks.create(image, { format: 'VHDX', type: 'Dynamic', size: 64 << 20 });
    const verify = new URL('../../../../../tools/verify/hyperv.mjs', import.meta.url).pathname;
    const { status, stdout } = await new Promise<{ status: number | null; stdout: string }>((resolve) => {
      const child = spawn(process.execPath, [
        verify,
        ...['--host', `${userInfo().username}@127.0.0.1:${port}`],
        ...['--key', file('user_key'), '--known-hosts', file('known_hosts')],
        ...['--serve', `127.0.0.1:${servePort}`, '--image', image, '--switch', 'External', '--no-linux'],
        ...['--', '-t', 'spawning leaves|guests of others are'],
      ]);
      let said = '';
      child.stdout.on('data', (text) => {
        said += text;
      });
      child.once('close', (code) => resolve({ status: code, stdout: said }));
    });
    expect(stdout).toMatch(/[3-9] passed/);
    expect(status).toBe(0);
    expect(host.vms.size).toBe(0);
  });

  it.each([
    ['a host key that is not the known one', () => target('wrong_hosts'), /Host key verification failed/],
    ['a key of ours that is not known there', () => target('known_hosts', 'other_key'), /Permission denied/],
  ])('refuses %s', { timeout: 60_000 }, async (_, open, reason) => {
    const driver = driverOver(open());
    expect(await driver.probe(AbortSignal.timeout(20_000))).toMatchObject({
      health: 'unhealthy',
      reason: expect.stringMatching(reason),
    });
    await driver.close();
  });
});
