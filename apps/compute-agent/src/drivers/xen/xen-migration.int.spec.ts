import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fileDisk, fileSource, flatNic, rootFrom, testGuest } from '../common/test-guest.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import type { HostShell } from './host-shell.js';
import { SEND } from './scripts.js';
import { typed, XlDouble } from './testing/xl-double.js';
import { XenDriver } from './xen.driver.js';

const never = new AbortController().signal;
const folder = mkdtempSync(join(tmpdir(), 'omnivisor-xen-shared-'));
const [tools, toolsThere] = [join(folder, 'tools'), join(folder, 'tools-there')];
const sharedDisks = join(folder, 'shared');
const shared = { disks: 'shared', attached: [] } as const;

/** A dom0 that is not reached any more, for all scripts or for those with that text. */
class Fickle implements HostShell {
  readonly isRemote = false;
  deafTo: string | null = null;

  constructor(private readonly shell: HostShell) {}

  start(script: string, args: readonly string[]) {
    return this.deafTo !== null && script.includes(this.deafTo)
      ? this.shell.start('exit 255', [])
      : this.shell.start(script, args);
  }

  close(): void {}
}

/** What a tool does when it is called like that on the source, or the target: text for a shell. */
const tool = (name: string, text: string, at = tools) => {
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, name), `#!/bin/sh\n${text}\nPATH=\${PATH#*:} exec ${name} "$@"\n`, { mode: 0o755 });
};

describe.each([
  ['still', 'pv'],
  ['live', 'pv shadow'],
])('a domain that goes %s to another Xen host', { timeout: 30_000 }, (way, caps) => {
  let doubles: [XlDouble, XlDouble];
  let shells: [Fickle, Fickle];
  let source: XenDriver;
  let target: XenDriver;
  let id: ServerId;
  let spec: GuestSpec;

  const open = async (i: 0 | 1, limits: { migrationSilence?: number } = {}) => {
    const shell = new Fickle(doubles[i].shell(i === 0 ? `${tools}:` : `${toolsThere}:`));
    shells[i] = shell;
    const driver = new XenDriver({
      ...{ cloudId: 'cloud', shell, root: doubles[i].root, type: 'pv', bridges: { physnet1: 'xenbr0' }, sharedDisks },
      ...limits,
    });
    await driver.probe(AbortSignal.timeout(10_000));
    return driver;
  };

  beforeAll(async () => {
    mkdirSync(sharedDisks, { recursive: true });
    writeFileSync(join(folder, 'image.raw'), 'an image');
    truncateSync(join(folder, 'image.raw'), 1 << 20);
    doubles = [new XlDouble(caps), new XlDouble(caps)];
    shells = [] as unknown as typeof shells;
    source = await open(0);
    target = await open(1);
  });
  afterAll(async () => {
    for (const driver of [source, target]) await driver.close();
    for (const double of doubles) await double.close();
  });
  beforeEach(async () => {
    id = ServerId.parse(randomUUID());
    spec = testGuest(id, 'cloud', { disks: rootFrom(fileSource(join(folder, 'image.raw'))) });
    await source.spawn(spec, never);
    await typed(source, id, 'sM');
  });
  afterEach(async () => {
    for (const at of [tools, toolsThere]) rmSync(at, { recursive: true, force: true });
    for (const driver of [target, source]) await driver.destroy(id);
    for (const double of doubles) expect(double.leftovers(id)).toEqual([]);
    for (const name of folders()) rmSync(join(sharedDisks, name), { recursive: true });
  });

  const folders = () => readdirSync(sharedDisks).filter((name) => name.startsWith(id));
  const there = () => ({ ...spec, mark: { ...spec.mark, attempt: 2 } });
  const invited = async (change: Partial<GuestSpec> = {}) =>
    target.liveMigration!.receive({ ...there(), ...change }, await source.liveMigration!.offer(id), shared, never);
  const send = (ticket: string, signal = never) => source.liveMigration!.send(id, ticket, { signal });
  const runsAt = async (i: 0 | 1) => (await doubles[i].xl('list', '-v')).includes(`${id} `);
  const tables = (i: 0 | 1) => {
    const kept = join(doubles[i].folder, 'state', 'nft');
    return existsSync(kept) ? readdirSync(kept).join() : '';
  };
  const stages = async () => [
    (await source.inspect(id)).stage,
    (await target.inspect(id).catch(() => ({ stage: null }))).stage,
  ];

  it('has its disks as long as one of the two is its host', async () => {
    await send(await invited());
    await target.liveMigration!.accept(id);
    expect(await typed(target, id, 'g')).toBe('M');
    await source.destroy(id);
    expect(readdirSync(join(sharedDisks, `${id}-1`))).not.toEqual([]);
    await target.reboot(id, 'hard', []);
    await target.destroy(id);
    expect(folders()).toEqual([]);
  });

  it.each([0, 1])('has disks of its own when it is made there while the source keeps it (%i)', async (first) => {
    await target.spawn(there(), never);
    await typed(target, id, 'w0T');
    await typed(source, id, 'w0S');
    const drivers = [source, target];
    await drivers[first]!.destroy(id);
    expect(folders()).toEqual([`${id}-${2 - first}`]);
    const other = drivers[1 - first]!;
    await other.reboot(id, 'hard', []);
    expect(await typed(other, id, 'r0')).toBe(first === 0 ? 'T' : 'S');
  });

  it('is not made where a folder has the place of its disks, nor is that touched', async () => {
    const another = ServerId.parse(randomUUID());
    const theirs = join(sharedDisks, `${another}-1`);
    mkdirSync(theirs);
    writeFileSync(join(theirs, 'root.raw'), 'of somebody else');
    for (let tries = 0; tries < 2; tries++)
      await expect(source.spawn({ ...spec, mark: { ...spec.mark, serverId: another } }, never)).rejects.toThrow(
        'place',
      );
    await source.destroy(another);
    expect(readdirSync(theirs)).toEqual(['root.raw']);
    expect(doubles[0].leftovers(another)).toEqual([]);
    rmSync(theirs, { recursive: true });
  });

  it('keeps its disks when the host that expects it gives it up', async () => {
    await invited();
    await target.destroy(id);
    await source.reboot(id, 'hard', []);
    expect((await source.inspect(id)).power).toBe('running');
  });

  it('is not started where it was, also by a call that came before it had gone', async () => {
    await send(await invited());
    for (const call of [
      () => source.powerOn(id, []),
      () => source.reboot(id, 'hard', []),
      () => source.powerOff(id, ms(0)),
      () => source.spawn(spec, never),
      () => source.resizing.revertResize(id),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'fault' });
    expect([await runsAt(0), await runsAt(1)]).toEqual([false, true]);
  });

  it('goes on where it was when the other side does not take it', async () => {
    const ticket = await invited();
    doubles[1].failNext('not enough free memory');
    await expect(send(ticket)).rejects.toMatchObject({ code: 'fault' });
    expect(await typed(source, id, 'g')).toBe('M');
    expect(await stages()).toEqual(['settled', 'incoming']);
    await target.liveMigration!.cancel(id);
  });

  it('goes on where it was when the way to the other side carries nothing any more', async () => {
    await source.close();
    source = await open(0, { migrationSilence: 1_000 });
    // As a host whose network is gone: what is sent is never answered.
    tool('xl', `case $1 in migrate-receive|restore) exec cat >/dev/null;; esac`, toolsThere);
    await expect(send(await invited())).rejects.toMatchObject({ code: 'fault' });
    expect(await typed(source, id, 'g')).toBe('M');
    expect(await stages()).toEqual(['settled', 'incoming']);
    await source.close();
    source = await open(0);
  });

  it('goes on where it was when xl is killed while it stands still', async () => {
    const ticket = await invited();
    tool(
      'xl',
      `case $1$2 in save-p|migrate-s)
        for domid; do
          commands=$XL_DOUBLE_STATE/domains/$domid/commands
          [ ! -p "$commands" ] || { echo suspend >"$commands"; until grep -q s "\${commands%commands}state"; do :; done; }
        done
        kill -9 $$;;
      esac`,
    );
    await expect(send(ticket)).rejects.toMatchObject({ code: 'fault' });
    expect(await typed(source, id, 'g')).toBe('M');
    await source.liveMigration!.recover(id);
    expect(await stages()).toEqual(['settled', 'incoming']);
  });

  it('stays when only the end of the input says that the other side has gone', async () => {
    // As behind a server of ssh that reads no more and closes nothing: the memory has more bytes than a pipe holds.
    const child = doubles[0].shell().start(SEND, [doubles[0].root, id, '60', way!, sharedDisks]);
    child.stdout.pause();
    child.stderr.resume();
    child.stdin.end();
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(1);
    child.stdout.destroy();
    expect(await typed(source, id, 'g')).toBe('M');
  });

  it('has gone also for a source that loses its power, before the other side is told to run it', async () => {
    const log = join(folder, `synced-${id}`);
    writeFileSync(log, '');
    tool(
      'sync',
      `for file; do case $file in */guests/$id/*) echo "\${file##*/} $(xl domid ${id} 2>/dev/null)";; esac; done >>'${log}'
      [ ! -e '${log}.fails' ] || case "$*" in */moved*) exit 1;; esac`.replaceAll('$id', id),
    );
    const ticket = await invited();
    writeFileSync(`${log}.fails`, '');
    await expect(send(ticket)).rejects.toThrow();
    expect(await doubles[1].xl('list')).toMatch(/--p---/);
    const synced = readFileSync(log, 'utf8').split('\n');
    expect(synced.find((line) => line.startsWith('leaving'))).toMatch(/^leaving \d+$/);
    expect(synced.filter((line) => line.startsWith('moved'))).toContain('moved ');
    rmSync(`${log}.fails`);
    await send(ticket);
    expect(await stages()).toEqual(['moved', 'settled']);
    expect(await typed(target, id, 'g')).toBe('M');
  });

  it('is tried again to be cleared away where it was, and not started there', async () => {
    const ticket = await invited();
    tool('sync', `case "$*" in */disks/*) exit 1;; esac`);
    await expect(send(ticket)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(source.liveMigration!.recover(id)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(source.liveMigration!.offer(id)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(source.powerOn(id, [])).rejects.toMatchObject({ code: 'fault' });
    expect(await source.inspect(id)).toMatchObject({ stage: 'settled', power: 'noState' });
    expect(await runsAt(0)).toBe(false);
    rmSync(join(tools, 'sync'));
    await expect(source.liveMigration!.recover(id)).rejects.toMatchObject({ code: 'fault' });
    expect(await stages()).toEqual(['moved', 'incoming']);
    await send(ticket);
    expect(await typed(target, id, 'g')).toBe('M');
  });

  it('is accepted again when that was cut off before it ran', async () => {
    const ticket = await invited();
    tool('sync', `case "$*" in */accepting*) exit 1;; esac`, toolsThere);
    await send(ticket);
    rmSync(toolsThere, { recursive: true });
    expect(await stages()).toEqual(['moved', 'incoming']);
    expect(await doubles[1].xl('list')).toMatch(/--p---/);
    await target.liveMigration!.accept(id);
    expect(await stages()).toEqual(['moved', 'settled']);
    expect(await typed(target, id, 'g')).toBe('M');
  });

  it('is where dom0 says when its agent there is cut off while it is sent', async () => {
    const ticket = await invited();
    const hung = send(ticket).catch(() => undefined);
    shells[0].deafTo = '';
    await hung;
    shells[0].deafTo = null;
    const moved = await source.liveMigration!.recover(id).then(
      () => false,
      () => true,
    );
    expect((await stages())[0]).toBe(moved ? 'moved' : 'settled');
    if (!moved) expect(await typed(source, id, 'g')).toBe('M');
  });

  it('waits at the target until it is accepted, however long nobody says so', async () => {
    const ticket = await invited();
    shells[1].deafTo = 'its memory is not here';
    await send(ticket);
    shells[1].deafTo = null;
    expect(await stages()).toEqual(['moved', 'incoming']);
    expect(await doubles[1].xl('list')).toMatch(/--p---/);
    await expect(target.liveMigration!.cancel(id)).rejects.toMatchObject({ code: 'fault' });
    await target.close();
    target = await open(1);
    for (let i = 0; i < 2; i++) await target.liveMigration!.accept(id);
    expect(await typed(target, id, 'g')).toBe('M');
    expect(await stages()).toEqual(['moved', 'settled']);
  });

  it('goes nowhere when dom0 there does not give its guarded interfaces their names', async () => {
    await source.destroy(id);
    const mac = 'fa:16:3e:00:07:01';
    const nic = flatNic(mac, { guard: { addresses: [{ mac, ip: '10.0.0.1' }], rules: [] } });
    spec = { ...spec, nics: [nic] };
    await source.spawn(spec, never);
    const ticket = await invited();
    const nameless = join(doubles[1].folder, 'state', 'names-nothing');
    writeFileSync(nameless, '');
    await expect(send(ticket)).rejects.toMatchObject({ code: 'fault', native: expect.stringContaining('name') });
    rmSync(nameless);
    expect((await source.inspect(id)).power).toBe('running');
    await send(await invited());
    await target.liveMigration!.accept(id);
    expect(tables(1)).toContain(id.replaceAll('-', '_'));
    expect(tables(0)).not.toContain(id.replaceAll('-', '_'));
  });

  it('takes the disks along that are attached to it, from where the target has them', async () => {
    const disk = fileDisk(join(folder, 'volume.raw'), 'volume');
    writeFileSync(join(folder, 'volume.raw'), '');
    truncateSync(join(folder, 'volume.raw'), 1 << 20);
    await source.disks.attach(id, disk);
    await typed(source, id, 'w1V');
    const offer = await source.liveMigration!.offer(id);
    await expect(target.liveMigration!.receive(there(), offer, shared, never)).rejects.toMatchObject({ code: 'fault' });
    await send(await target.liveMigration!.receive(there(), offer, { ...shared, attached: [disk] }, never));
    await target.liveMigration!.accept(id);
    expect(await typed(target, id, 'r1')).toBe('V');
  });

  it('is not expected with disks that lead elsewhere', async () => {
    const disks = join(sharedDisks, `${id}-1`);
    const root = readdirSync(disks).find((name) => name.endsWith('.raw'))!;
    for (const path of [join(disks, root), disks]) {
      renameSync(path, join(folder, 'elsewhere'));
      symlinkSync(join(folder, 'elsewhere'), path);
      await expect(invited(), path).rejects.toThrow('not on this host');
      rmSync(path);
      renameSync(join(folder, 'elsewhere'), path);
    }
    expect(doubles[1].leftovers(id)).toEqual([]);
  });

  it('is given up only by the cloud that expects it', async () => {
    const ticket = await invited();
    const shell = doubles[1].shell();
    const theirs = new XenDriver({
      ...{ cloudId: 'another', shell, root: doubles[1].root, type: 'pv', bridges: {}, sharedDisks },
    });
    await theirs.liveMigration!.cancel(id);
    await theirs.close();
    await send(ticket);
    expect(await typed(target, id, 'g')).toBe('M');
  });

  it('has a host that is not well while the shared folder is not mounted', async () => {
    const name = join(sharedDisks, '.omnivisor-storage');
    const was = readFileSync(name);
    const probe = () => target.probe(AbortSignal.timeout(20_000));
    const unwell = { health: 'unhealthy', reason: expect.stringContaining('not mounted') };
    rmSync(name);
    expect(await probe()).toMatchObject(unwell);
    expect(existsSync(name)).toBe(false);
    await expect(target.spawn(there(), never)).rejects.toMatchObject({ native: expect.stringContaining('storage') });
    expect(folders()).toEqual([`${id}-1`]);
    writeFileSync(name, randomUUID());
    expect(await probe()).toMatchObject(unwell);
    await expect(target.liveMigration!.reach()).rejects.toThrow('not mounted');
    writeFileSync(name, was);
    expect(await probe()).toMatchObject({ health: 'healthy' });
  });

  it('is not taken for another, nor with what xl would read as more than it is', async () => {
    const offer = JSON.parse(await source.liveMigration!.offer(id));
    for (const change of [
      { type: 'hvm' },
      { size: { vcpus: 9, memory: 9 } },
      { boot: { ...offer.boot, root: '../../etc/shadow' } },
      { disks: [{ diskId: 'a', device: 'xvde,target=/dev/sda' }] },
      { ports: ['a'] },
      { ports: [''] },
      { storage: randomUUID() },
      { folder: `${randomUUID()}-1` },
      { folder: `${id}-1/../..` },
      { folder: id },
      { boot: { ...offer.boot, root: 'root-ffffffff.raw' } },
      { xen: '99.1' },
      { flags: ['a-flag-of-the-future'] },
    ])
      await expect(
        target.liveMigration!.receive(there(), JSON.stringify({ ...offer, ...change }), shared, never),
        JSON.stringify(change),
      ).rejects.toMatchObject({ code: expect.stringMatching(/fault|unsupported/) });
    expect(doubles[1].leftovers(id)).toEqual([]);
  });
});
