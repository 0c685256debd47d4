import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { which } from '../../../../../tools/services/process.mjs';
import type { Trust } from '../common/trusted-socket.js';
import { noSimulator, Simulator } from './testing/simulator.js';
import { never, newId, VcenterUnderTest } from './testing/vcenter-under-test.js';
import { Vcenters } from './testing/vcenters.js';
import { PropertyReader } from './transport/properties.js';
import type { Ref } from './transport/soap.js';
import { Updates } from './transport/updates.js';
import { knownFaults } from './transport/vim-fault.js';
import { VimSession } from './transport/vim-session.js';

describe.skipIf(noSimulator)(`a session with a vCenter${noSimulator === null ? '' : `: ${noSimulator}`}`, () => {
  const vcenters = new Vcenters();
  const drive = (...args: Parameters<VcenterUnderTest['open']>) => vcenters.drive(...args);
  let vcenter: VcenterUnderTest;
  beforeAll(() => {
    vcenter = vcenters.first;
  });
  const logins = () => vcenter.gateway.calls.filter((call) => call === 'Login').length;

  it('is opened once, however many ask at one time, and given up at the end', async () => {
    const driver = vcenter.open();
    const before = logins();
    await Promise.all([driver.list(), driver.inventory(), driver.check(), driver.list()]);
    expect(logins() - before).toBe(1);
    await driver.close();
    expect(vcenter.gateway.calls.at(-1)).toBe('Logout');
  });

  it('that is over is opened anew in the middle of anything, and nothing is done twice', async () => {
    const driver = drive();
    const spec = vcenter.guest(newId());
    await driver.check();
    for (const method of [
      'CreateVM_Task',
      'ReconfigVM_Task',
      'CopyVirtualDisk_Task',
      'PowerOnVM_Task',
      'Destroy_Task',
    ]) {
      const before = logins();
      await vcenter.simulator.failNext(method, 'NotAuthenticated');
      await driver.spawn(spec, never);
      expect((await vcenter.vms()).filter(({ state }) => state?.includes(spec.mark.serverId))).toHaveLength(1);
      await driver.destroy(spec.mark.serverId);
      expect([method, logins() - before]).toEqual([method, 1]);
    }
    expect(await vcenter.leftovers(spec.mark.serverId, 0)).toEqual([]);
  });

  it('that ends while changes are waited for leaves neither tasks nor events behind', async () => {
    const driver = drive();
    const { id } = await vcenter.running(driver);
    const done = new AbortController();
    const seen: string[] = [];
    const reading = (async () => {
      for await (const event of driver.events(done.signal)) seen.push(event.serverId);
    })();
    await expect.poll(() => vcenter.gateway.calls).toContain('WaitForUpdatesEx');
    vcenter.gateway.cut()();
    await vcenter.simulator.failNext('WaitForUpdatesEx', 'NotAuthenticated');
    await driver.list();
    seen.length = 0;
    await vcenter.inside.switchOff(id);
    await expect.poll(() => seen, { timeout: 5_000 }).toContain(id);
    done.abort();
    await reading;
    await driver.destroy(id);
  });

  it('with a wrong password says so, and is not tried over and over', async () => {
    const driver = drive({ access: { ...vcenter.access(vcenter.gateway.url), password: 'guess' } });
    const before = logins();
    const report = await driver.probe(never);
    expect(report).toMatchObject({ health: 'unhealthy', reason: expect.stringContaining('InvalidLogin') });
    expect(report.reason).not.toContain('guess');
    expect(logins() - before).toBe(1);
  });

  it('fails in time when the vCenter falls silent, and goes on with it', async () => {
    const driver = drive({ access: { ...vcenter.access(vcenter.gateway.url), answerTimeout: 200 } });
    await driver.list();
    const restore = vcenter.gateway.cut('silent');
    await expect(driver.list()).rejects.toMatchObject({ code: 'unavailable' });
    restore();
    await driver.list();
  });

  it('follows long tasks, tells their faults, and cancels them', async () => {
    const session = new VimSession(vcenter.access(vcenter.gateway.url));
    const read = new PropertyReader(session);
    const updates = new Updates(session, read);
    const driver = drive();
    const { id } = await vcenter.running(driver);
    const { ref } = await vcenter.vmOf(id);
    await expect(updates.run(ref, 'PowerOnVM_Task')).rejects.toMatchObject({ kind: 'InvalidPowerState' });
    const watched: (Ref | null)[] = [];
    updates.watch(vcenter.place.datacenter.ref, ['runtime.powerState'], (vm, changed) => {
      if (vm.is(ref)) watched.push(changed && vm);
    });
    await expect.poll(() => watched).toHaveLength(1);
    await updates.run(ref, 'PowerOffVM_Task');
    await expect.poll(() => watched).toHaveLength(2);
    await driver.destroy(id);
    await expect.poll(() => watched.at(-1)).toBeNull();
    await session.close();
    await updates.close();
  });

  it('gives tasks that move memory or disks more time than others', async () => {
    const limit = 2_000;
    const delays = ['Suspend', 'RemoveSnapshot', 'CopyVirtualDisk'].flatMap((task) => [
      '-delay',
      `${task}=${limit + 500}`,
    ]);
    const slow = await VcenterUnderTest.start(...delays);
    const driver = slow.open({ access: { ...slow.access(slow.gateway.url), taskLimit: limit } });
    try {
      const [first, second] = [await slow.running(driver), await slow.running(driver)];
      const { stream } = await driver.snapshots.exportDisk(second.id, 'root', 'vmdk', never);
      stream.resume();
      await Promise.all([
        driver.suspending.suspend(first.id),
        driver.rebuilding.rebuild({ ...second, mark: { ...second.mark, build: 1 } }, never),
      ]);
      expect(await driver.inspect(first.id)).toMatchObject({ power: 'suspended' });
    } finally {
      await driver.close();
      await slow.stop();
    }
  });

  it('waits no longer than its limit and a while for a task that does not let itself be cancelled', async () => {
    const slow = await VcenterUnderTest.start('-relocation', '3000');
    const session = new VimSession({ ...slow.access(slow.gateway.url), cancelGrace: 50 });
    const updates = new Updates(session, new PropertyReader(session));
    try {
      const driver = slow.open();
      const { id } = await slow.running(driver);
      await driver.close();
      await slow.simulator.failNext('CancelTask', 'NotSupported');
      const spec = { host: slow.place.members[1]!.ref, pool: slow.place.pool };
      const moving = updates.run((await slow.vmOf(id)).ref, 'RelocateVM_Task', { spec }, { limit: 20 });
      await expect(moving).rejects.toMatchObject({
        code: 'unavailable',
        native: expect.stringContaining('CancelTask: NotSupported'),
      });
      expect((await (await fetch(`${slow.simulator.url}/moving`)).json()) as string[]).toHaveLength(1);
    } finally {
      await session.close();
      await updates.close();
      await slow.stop();
    }
  });

  it('knows only faults that the API has', async () => {
    const unknown: string[] = [];
    for (const kind of knownFaults())
      await vcenter.simulator.failNext('NoSuchMethod', kind).catch(() => unknown.push(kind));
    expect(unknown).toEqual([]);
  });
});

describe.skipIf(noSimulator || !which('openssl'))('a vCenter behind TLS (needs openssl)', () => {
  let simulator: Simulator;
  let shown: { sha256: string; sha1: string; pem: string };
  beforeAll(async () => {
    simulator = await Simulator.start('-tls');
    shown = await certificateOf(new URL(simulator.url));
  });
  afterAll(() => simulator?.stop());

  const answers = async (trust: Trust): Promise<string> => {
    const access = { url: simulator.url, user: 'omnivisor', password: 'secret', trust };
    const session = new VimSession(access);
    try {
      const { about } = await session.content();
      return String(about.name);
    } catch (error) {
      return (error as Error).name;
    } finally {
      await session.close();
    }
  };

  it('is spoken to when its certificate is signed by a known authority, or pinned', async () => {
    expect(await answers({ kind: 'authorities', pem: shown.pem })).toBe('VMware vCenter Server');
    for (const fingerprint of [shown.sha256, shown.sha256.toLowerCase().replaceAll(':', ''), shown.sha1])
      expect(await answers({ kind: 'pinned', fingerprints: [fingerprint] })).toBe('VMware vCenter Server');
  });

  it('gets nothing, not even a password, otherwise', async () => {
    expect(await answers({ kind: 'authorities', pem: null })).toBe('NoConnection');
    expect(await answers({ kind: 'pinned', fingerprints: ['00'.repeat(32)] })).toBe('NoConnection');
    expect(await answers({ kind: 'pinned', fingerprints: [] })).toBe('NoConnection');
  });
});

const certificateOf = (url: URL): Promise<{ sha256: string; sha1: string; pem: string }> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: url.hostname, port: Number(url.port), rejectUnauthorized: false }, () => {
      const { raw, fingerprint, fingerprint256 } = socket.getPeerCertificate();
      const pem = execFileSync('openssl', ['x509', '-inform', 'der'], { input: raw, encoding: 'utf8' });
      socket.end();
      expect(createHash('sha256').update(raw).digest('hex')).toBe(fingerprint256.replaceAll(':', '').toLowerCase());
      resolve({ sha256: fingerprint256, sha1: fingerprint, pem });
    });
    socket.once('error', reject);
  });
