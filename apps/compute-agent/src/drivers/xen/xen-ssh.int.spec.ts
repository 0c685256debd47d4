import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileSource, rootFrom, testGuest } from '../common/test-guest.js';
import { SSHD, SshServer } from '../common/testing/ssh-server.js';
import { Host, SshShell } from './host-shell.js';
import { SET_RUNNING } from './scripts.js';
import { typed, XlDouble } from './testing/xl-double.js';
import { XenDriver } from './xen.driver.js';

const cloudId = 'test-cloud';
const never = new AbortController().signal;

describe.runIf(existsSync(SSHD))('Xen by ssh', () => {
  let double: XlDouble;
  let sshd: SshServer;

  beforeAll(async () => {
    double = new XlDouble();
    const keys = join(double.folder, 'ssh');
    mkdirSync(keys);
    sshd = await SshServer.start(keys, [`SetEnv ${double.setEnv}`]);
  });
  afterAll(async () => {
    await sshd.stop();
    await double.close();
  });

  const driver = (...who: Parameters<SshServer['target']>) =>
    new XenDriver({
      ...{ cloudId, shell: new SshShell(sshd.target(...who)), root: double.root, type: 'pv' as const },
      ...{ bridges: { physnet1: 'xenbr0' }, answerTimeout: 20_000 },
    });

  it('makes guests of images that come packed, tells of them and talks with them', { timeout: 60_000 }, async () => {
    const image = join(double.folder, 'image.raw');
    writeFileSync(image, 'an image');
    truncateSync(image, 3 << 20);
    const xen = driver('known_hosts');
    expect(await xen.probe(AbortSignal.timeout(20_000))).toMatchObject({ health: 'healthy' });
    const id = ServerId.parse(randomUUID());
    const done = new AbortController();
    const events = xen.events(done.signal)[Symbol.asyncIterator]();
    await xen.spawn(testGuest(id, cloudId, { disks: rootFrom(fileSource(image)) }), never);
    expect(await typed(xen, id, 'w0Wr0')).toBe('W');
    const { virtualSize, stream } = await xen.snapshots.exportDisk(id, 'root', 'raw', never);
    const parts: Buffer[] = [];
    for await (const part of stream) parts.push(part as Buffer);
    const disk = Buffer.concat(parts);
    expect([virtualSize, disk.length, disk.toString('latin1', 0, 8), disk.toString('latin1', 512, 513)]).toEqual([
      ...[3 << 20, 3 << 20, 'an image', 'W'],
    ]);
    const lock = join(double.root, 'locks', id);
    const holder = spawn('flock', [lock, 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    const own = new SshShell(sshd.target('known_hosts'));
    const host = new Host(own);
    await host.call('true', []);
    const pause = host.call(SET_RUNNING, [double.root, id, '60', 'pause'], { timeout: 1_000 });
    await expect(pause).rejects.toMatchObject({ code: 'unavailable' });
    holder.stdin.end();
    await promisify(execFile)('flock', [lock, 'true']);
    expect((await xen.inspect(id)).power, 'a change that nobody waits for').toBe('running');
    own.close();
    await xen.powerOff(id, ms(10_000));
    expect((await events.next()).value).toEqual({ serverId: id });
    await xen.destroy(id);
    expect(double.leftovers(id)).toEqual([]);
    done.abort();
    await xen.close();
  });

  it.each([
    ['host', 'wrong_hosts', 'user_key'],
    ['login', 'known_hosts', 'other_key'],
  ] as const)('is unavailable to a %s that is not known', { timeout: 30_000 }, async (_, hosts, identity) => {
    const xen = driver(hosts, identity);
    expect(await xen.probe(AbortSignal.timeout(20_000))).toMatchObject({ health: 'unhealthy' });
    await expect(xen.list()).rejects.toMatchObject({ code: 'unavailable' });
    await xen.close();
  });
});
