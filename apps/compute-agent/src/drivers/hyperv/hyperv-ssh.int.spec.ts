import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recordDisks } from '../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { listen } from '../../../../../tools/doubles/hyperv/serve.mjs';
import { rootFrom, testGuest } from '../common/test-guest.js';
import { freePort, SSHD, SshServer } from '../common/testing/ssh-server.js';
import type { OpenProcess } from './host-channel.js';
import { localProcess, sshProcess } from './host-processes.js';
import { HyperVDriver } from './hyperv.driver.js';
import { Images } from './testing/double.js';

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
  const said = async () => (await driver.consoleLog!.tail(id, 1 << 20)).toString();
  await expect.poll(said).toMatch(/is up/);
  const console = await driver.consoles!.open(id, 'serial');
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
  livesThrough(driverOver(localProcess({ script }, powershell))),
);

it('says what is wrong when there is no PowerShell', async () => {
  const driver = driverOver(localProcess({ script }, '/nonexistent/powershell.exe'));
  expect(await driver.probe(AbortSignal.timeout(5_000))).toMatchObject({
    health: 'unhealthy',
    reason: expect.stringContaining('ENOENT'),
  });
  await driver.close();
});

describe.runIf(existsSync(SSHD))('by ssh', () => {
  let servePort: number;
  let sshd: SshServer;
  const file = (name: string) => join(dir, name);

  beforeAll(async () => {
    servePort = await freePort();
    // As on the Windows host: whatever the client asks for, it gets the host script.
    const forced = `OMNIVISOR_HYPERV_DOUBLE=${server.path} ${process.execPath} ${powershell}`;
    sshd = await SshServer.start(dir, [`ForceCommand ${forced}`]);
  });
  afterAll(() => sshd.stop());

  const target = (...who: Parameters<SshServer['target']>) => sshProcess({ ...sshd.target(...who), script });

  it('drives a host that forces the command', { timeout: 90_000 }, () =>
    livesThrough(driverOver(target('known_hosts'))),
  );

  /** What `npm run verify:hyperv` says of these behaviours over the double. */
  const verified = async (behaviours: string, ...options: string[]): Promise<string> => {
    const image = join(images.folder, 'verify.vhdx');
    recordDisks.create(image, { format: 'VHDX', type: 'Dynamic', size: 64 << 20 });
    const verify = new URL('../../../../../tools/verify/hyperv.mjs', import.meta.url).pathname;
    const { status, stdout } = await new Promise<{ status: number | null; stdout: string }>((resolve) => {
      const child = spawn(process.execPath, [
        verify,
        ...['--host', `${userInfo().username}@127.0.0.1:${sshd.port}`],
        ...['--key', file('user_key'), '--known-hosts', file('known_hosts')],
        ...['--serve', `127.0.0.1:${servePort}`, '--image', image, '--switch', 'External', '--no-linux'],
        ...options,
        ...['--', '-t', behaviours],
      ]);
      let said = '';
      child.stdout.on('data', (text) => {
        said += text;
      });
      child.once('close', (code) => resolve({ status: code, stdout: said }));
    });
    expect(status, stdout).toBe(0);
    expect(host.vms.size).toBe(0);
    return stdout;
  };

  it.each([
    ['without live migration', { enabled: false, authentication: 'CredSSP', delegatesTo: [] }],
    [
      'with live migration',
      {
        ...{ enabled: true, authentication: 'Kerberos' },
        delegatesTo: ['Microsoft Virtual System Migration Service/HV2', 'cifs/HV2'],
      },
    ],
  ])('carries the suite that verifies a real host %s', { timeout: 120_000 }, async (_, migration) => {
    host.facts.migration = migration;
    const behaviours = 'spawning leaves|guests of others are|has an optional member exactly|a checkpoint of others';
    expect(await verified(behaviours)).toMatch(/[5-9] passed/);
  });

  it('keeps what a host has shown, also of agents that were cut off from it', { timeout: 120_000 }, async () => {
    const kept = file('shown.json');
    const behaviours = 'in the middle of rebuild|in the middle of attachNic|does not answer|holds the files';
    await verified(behaviours, '--record', kept);
    const { backend, level, over, proofs } = JSON.parse(readFileSync(kept, 'utf8'));
    expect({ backend, level, over }).toEqual({
      backend: 'hyperv',
      level: 'L3',
      over: expect.stringContaining('build'),
    });
    const shown = Object.values<object>(proofs).flatMap((proof) => Object.keys(proof));
    expect(shown.sort()).toEqual([
      'fails a check while the hypervisor does not answer, and passes it again',
      'holds the files it was given',
      'in the middle of attachNic leaves what can be gone on with',
      'in the middle of rebuild leaves what can be gone on with',
      'say `unavailable` while the backend does not answer, and recover',
    ]);
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
