import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { fileDisk, fileSource, rootFrom, testGuest } from '../common/test-guest.js';
import type { HostShell } from './host-shell.js';
import { XlDouble } from './testing/xl-double.js';
import { XenDriver } from './xen.driver.js';

const cloudId = 'test-cloud';
const never = new AbortController().signal;

/** As another shell, but for what fails on purpose. */
class Failing implements HostShell {
  readonly isRemote = false;
  /** What a script or an argument with this in it does has no answer. */
  deafTo: string | null = null;
  /** A folder of tools that are found first. */
  tools = '';
  readonly started: string[] = [];

  constructor(private readonly shell: HostShell) {}

  start(script: string, args: readonly string[]) {
    this.started.push(script);
    const isUnheard = this.deafTo !== null && [script, ...args].some((text) => text.includes(this.deafTo!));
    const text = `${this.tools && `PATH=${this.tools}:$PATH\n`}${script}`;
    return this.shell.start(isUnheard ? `(${text}\n)\nexit 255` : text, args);
  }

  close(): void {}
}

describe('a Xen host that fails', { timeout: 30_000 }, () => {
  const double = new XlDouble();
  const image = join(double.folder, 'image.raw');
  const tools = join(double.folder, 'tools');
  const shell = new Failing(double.shell());
  const options = { cloudId, shell, root: double.root, type: 'pv' as const, bridges: { physnet1: 'xenbr0' } };
  const xen = new XenDriver(options);
  const id = ServerId.parse(randomUUID());
  const spec = (server: ServerId) => testGuest(server, cloudId, { disks: rootFrom(fileSource(image)) });
  const isOn = async () => (await double.xl('list', '-v')).includes(id);
  const tool = (name: string, text: string) => {
    writeFileSync(join(tools, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(tools, name), 0o755);
    shell.tools = tools;
  };

  beforeAll(async () => {
    mkdirSync(tools);
    writeFileSync(image, 'an image');
    truncateSync(image, 1 << 20);
    await xen.spawn(spec(id), never);
  });
  afterAll(() => double.close());

  it('does not say of what it claims to run that it cannot, before a probe has tried that', async () => {
    const claiming = new XlDouble('pv hvm');
    const one = new XenDriver({ ...options, shell: claiming.shell(), root: claiming.root });
    const asked = (mode: string) => {
      const plain = spec(ServerId.parse(randomUUID()));
      return one.spawn({ ...plain, image: { ...plain.image, properties: { hw_vm_mode: mode } } }, never);
    };
    for (const mode of ['pvh', 'hvm']) await expect(asked(mode)).rejects.toMatchObject({ code: 'unavailable' });
    expect((await one.probe(never)).health).toBe('healthy');
    for (const mode of ['pvh', 'hvm']) await expect(asked(mode)).rejects.toMatchObject({ code: 'unsupported' });
    await one.close();
    await claiming.close();
  });

  it('attaches a disk without saying so: a detach still takes it from the guest', async () => {
    const path = join(double.folder, 'volume.raw');
    writeFileSync(path, 'a volume');
    const disk = fileDisk(path, 'volume');
    shell.deafTo = 'block-attach';
    await expect(xen.disks.attach(id, disk)).rejects.toMatchObject({ code: 'unavailable' });
    shell.deafTo = null;
    const devices = async () =>
      (await double.xl('block-list', (await double.xl('domid', id)).trim())).trim().split('\n');
    expect(await devices()).toHaveLength(3);
    await xen.disks.detach(id, disk.diskId);
    expect(await devices()).toHaveLength(2);
  });

  it('does nothing of a change that nobody waits for any more', async () => {
    const lock = join(double.root, 'locks', id);
    const holder = spawn('flock', [lock, 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    const hasty = new XenDriver({ ...options, answerTimeout: 300 });
    await expect(hasty.powerOff(ServerId.parse(randomUUID()), ms(0))).rejects.toMatchObject({
      code: 'serverNotOnHost',
    });
    await expect(hasty.pausing.pause(id)).rejects.toMatchObject({ code: 'unavailable' });
    holder.stdin.end();
    await promisify(execFile)('flock', [lock, 'true']);
    expect((await xen.inspect(id)).power).toBe('running');
    await xen.pausing.pause(id);
    await xen.pausing.unpause(id);
  });

  it('lets a guest run on, and leaves no copy, when a snapshot is given up', async () => {
    const copying = join(double.folder, 'copying');
    tool('cp', `touch ${copying}; exec sleep 30`);
    const given = new AbortController();
    const snapshot = xen.snapshots.exportDisk(id, 'root', 'raw', given.signal);
    await vi.waitFor(() => expect(existsSync(copying)).toBe(true), { timeout: 5_000 });
    expect((await xen.inspect(id)).power).toBe('paused');
    given.abort();
    await expect(snapshot).rejects.toMatchObject({ code: 'fault' });
    shell.tools = '';
    await vi.waitFor(async () => expect((await xen.inspect(id)).power).toBe('running'), { timeout: 5_000 });
    expect(readdirSync(join(double.root, 'guests', id)).filter((name) => name.startsWith('export'))).toEqual([]);
  });

  it('is not believed that a guest is off when its store does not answer', async () => {
    tool('xenstore-read', 'exit 1');
    await expect(xen.powerOff(id, ms(0))).rejects.toMatchObject({ code: 'fault' });
    await expect(xen.destroy(id)).rejects.toMatchObject({ code: 'fault' });
    shell.tools = '';
    expect([await isOn(), existsSync(join(double.root, 'guests', id))]).toEqual([true, true]);
  });

  it('may be asked again for a start in which xl itself died', async () => {
    await xen.powerOff(id, ms(0));
    tool('xl', `[ "$1" != create ] || kill -ABRT $$\nPATH=\${PATH#*:} exec xl "$@"`);
    await expect(xen.powerOn(id, [])).rejects.toMatchObject({ code: 'unavailable' });
    shell.tools = '';
    await xen.powerOn(id, []);
    expect(await isOn()).toBe(true);
  });

  it('tells nothing of its guests rather than to leave one out that cannot be read', async () => {
    const file = join(double.root, 'guests', id, 'guest.json');
    const whole = readFileSync(file);
    const other = ServerId.parse(randomUUID());
    await xen.spawn(spec(other), never);
    for (const broken of ['', '{"half":\n', '{}\n']) {
      writeFileSync(file, broken);
      await expect(xen.list()).rejects.toMatchObject({ code: 'fault' });
      await expect(xen.inspect(id)).rejects.toMatchObject({ code: 'unavailable' });
      await expect(xen.destroy(id)).rejects.toMatchObject({ code: 'unavailable' });
      expect((await xen.inspect(other)).power).toBe('running');
    }
    expect(await isOn()).toBe(true);
    writeFileSync(file, whole);
    await xen.destroy(other);
    expect(await xen.list()).toHaveLength(1);
  });

  it('removes nothing of a server when it did not say that the place is its own', async () => {
    const server = ServerId.parse(randomUUID());
    shell.deafTo = 'echo taken';
    await expect(xen.spawn(spec(server), never)).rejects.toMatchObject({ code: 'unavailable' });
    shell.deafTo = null;
    expect(existsSync(join(double.root, 'guests', server))).toBe(true);
    await xen.spawn(spec(server), never);
    await xen.destroy(server);
    expect(double.leftovers(server)).toEqual([]);
  });

  it('keeps no copy of the disk of a server that moves here, also when it could not be used', async () => {
    const moved = join(double.folder, 'moved.raw');
    writeFileSync(moved, 'the disk of one server');
    truncateSync(moved, 2 << 20);
    const images = () => readdirSync(join(double.root, 'images'));
    const before = images();
    const source = { ...fileSource(moved), isPrivate: true };
    const comes = { ...spec(ServerId.parse(randomUUID())), disks: rootFrom(source) };
    await xen.spawn(comes, never);
    expect(images()).toEqual(before);
    await xen.destroy(comes.mark.serverId);
    const aborted = new AbortController();
    const path = async (signal: AbortSignal) => {
      aborted.abort();
      return source.path(signal);
    };
    const given = { ...comes, disks: rootFrom({ ...source, path }) };
    await expect(xen.spawn(given, aborted.signal)).rejects.toMatchObject({ code: 'fault' });
    expect(images()).toEqual(before);
  });

  it('is sent an image once, however many guests wait for it', async () => {
    writeFileSync(image, 'another image');
    const servers = [1, 2, 3].map(() => ServerId.parse(randomUUID()));
    shell.started.length = 0;
    await Promise.all(servers.map((server) => xen.spawn(spec(server), never)));
    expect(shell.started.filter((script) => script.includes('the bytes are not those'))).toHaveLength(1);
    await Promise.all(servers.map((server) => xen.destroy(server)));
  });
});
