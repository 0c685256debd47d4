import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytes, gib, mib, ms, ServerId } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileSource, rootFrom, tapNic, testGuest } from '../common/test-guest.js';
import { tinyGuest, tinyKernel } from '../common/tiny-guest.js';
import type { DiskFormat, GuestSpec, NicAttachment } from '../hypervisor-driver.js';
import { QemuDriver } from './qemu.driver.js';
import { QmpClient } from './qmp-client.js';
import { processesIn } from './testing/tiny-guests.js';

const cloudId = 'test-cloud';
const never = new AbortController().signal;
const PAGES = '/sys/kernel/mm/hugepages/hugepages-2048kB';
/** Enough of them for a guest of 16 MiB. */
const hasPages = existsSync(PAGES) && Number(readFileSync(`${PAGES}/free_hugepages`, 'utf8')) >= 8;
const hasTpm = spawnSync('swtpm', ['--version']).status === 0;
const isRoot = process.getuid?.() === 0;
const SWITCH: NicAttachment = {
  kind: 'provider',
  networkType: 'flat',
  physicalNetwork: 'physnet1',
  segmentationId: null,
};

/** What becomes of guests when processes, hosts, disks and image caches go away under them. */
describe('guests of QEMU on their host', () => {
  let stateDir: string;
  let driver: QemuDriver;
  let spec: GuestSpec;
  let image: string;
  let id: ServerId;
  const file = (name: string) => join(stateDir, 'guests', id, name);
  const pid = () => Number(readFileSync(file('qemu.pid'), 'utf8'));
  const soon = { timeout: 10_000, interval: 20 };
  const said = async () => (await driver.consoleLog.tail(id, 1 << 16)).toString('latin1');
  const power = async () => (await driver.inspect(id)).power;
  const open = (change = {}) => new QemuDriver({ stateDir, cloudId, accel: 'tcg', answerTimeout: 500, ...change });
  const becomes = (state: string) => expect.poll(power, { timeout: 10_000, interval: 10 }).toBe(state);

  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'omnivisor-guests-'));
    id = ServerId.parse(randomUUID());
    image = join(stateDir, 'image');
    writeFileSync(image, Buffer.concat([tinyGuest()], 1 << 20));
    spec = testGuest(id, cloudId, { disks: rootFrom(fileSource(image)) });
    driver = open();
  });
  afterEach(async () => {
    await driver.destroy(id);
    await driver.close();
    rmSync(stateDir, { recursive: true });
  });

  it('run in a session and process group of their own, as a user of their own', async () => {
    await driver.spawn(spec, never);
    const stat = readFileSync(`/proc/${pid()}/stat`, 'latin1').split(') ')[1]!.split(' ').map(Number);
    expect([stat[2], stat[3]]).toEqual([pid(), pid()]);
    const user = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid()}/status`, 'utf8'))?.[1]);
    expect(user).toBeGreaterThanOrEqual(isRoot ? 0x7000_0000 : 1);
  });

  it('have memory that was promised to others too, as long as the scheduler says so', async () => {
    await driver.close();
    driver = open({ inventory: { memoryMib: spec.flavor.memory } });
    await driver.spawn({ ...spec, powerOn: false }, never);
    const other = { ...spec, mark: { ...spec.mark, serverId: ServerId.parse(randomUUID()) } };
    await driver.spawn(other, never);
    await driver.destroy(other.mark.serverId);
  });

  it.runIf(isRoot)('count the room of the storage that their disks are on', async () => {
    const sharedDisks = mkdtempSync(join(tmpdir(), 'omnivisor-storage-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'omnivisor-test', sharedDisks]);
    const shared = open({ sharedDisks });
    try {
      expect((await shared.inventory()).diskGib).toBe(0);
      const root = { ...spec.disks.root, size: gib(1) };
      const big = { ...spec, disks: { ...spec.disks, root } };
      await expect(shared.spawn(big, never)).rejects.toMatchObject({ code: 'noResources' });
      await shared.spawn({ ...spec, powerOn: false }, never);
      const grown = { ...spec.flavor, disk: gib(1) };
      await expect(shared.resizing.resize(id, grown, never)).rejects.toMatchObject({ code: 'noResources' });
      await shared.destroy(id);
    } finally {
      await shared.close();
      execFileSync('umount', [sharedDisks]);
      rmSync(sharedDisks, { recursive: true });
    }
  });

  it('count as crashed when their process dies, and can be started again', async () => {
    await driver.spawn(spec, never);
    const done = new AbortController();
    const events = driver.events(done.signal)[Symbol.asyncIterator]();
    const first = events.next();
    process.kill(pid(), 'SIGKILL');
    expect(await first).toEqual({ done: false, value: { serverId: id } });
    done.abort();
    await becomes('crashed');
    await driver.powerOn(id, []);
    expect(await power()).toBe('running');
  });

  it('are off, not crashed, after their host was booted', async () => {
    await driver.spawn(spec, never);
    process.kill(pid(), 'SIGKILL');
    await becomes('crashed');
    writeFileSync(file('started.json'), JSON.stringify({ bootId: 'the boot before this one' }));
    expect(await power()).toBe('shutdown');
  });

  it('are ended, and started anew, though their process answers nothing any more', async () => {
    await driver.spawn(spec, never);
    const hung = pid();
    process.kill(hung, 'SIGSTOP');
    await driver.reboot(id, 'hard', []);
    expect(pid()).not.toBe(hung);
    expect(await power()).toBe('running');
    process.kill(pid(), 'SIGSTOP');
    await driver.powerOff(id, ms(600));
    expect(await power()).toBe('shutdown');
  });

  it('are not ended while they have time to answer, nor once nobody wants it any more', async () => {
    await driver.spawn(spec, never);
    const hung = pid();
    process.kill(hung, 'SIGSTOP');
    const off = driver.powerOff(id, ms(60_000), AbortSignal.timeout(700));
    await expect(off).rejects.toMatchObject({ code: 'fault' });
    process.kill(hung, 'SIGCONT');
    await becomes('running');
    expect(pid()).toBe(hung);
  });

  it('stay suspended while their host runs guests otherwise than when their memory was saved', async () => {
    await driver.spawn(spec, never);
    await driver.suspending.suspend(id);
    const saved = readFileSync(file('guest.json'), 'utf8');
    const definition = JSON.parse(saved);
    expect(definition.savedUnder).toMatchObject({ accel: 'tcg', model: 'max' });
    writeFileSync(
      file('guest.json'),
      JSON.stringify({ ...definition, savedUnder: { ...definition.savedUnder, accel: 'kvm' } }),
    );
    await expect(driver.suspending.resume(id, [])).rejects.toMatchObject({ code: 'unsupported' });
    expect(await power()).toBe('suspended');
    writeFileSync(file('guest.json'), saved);
    await driver.suspending.resume(id, []);
    expect(await power()).toBe('running');
  });

  it('are not taken for another process that got their pid', async () => {
    await driver.spawn(spec, never);
    const guest = pid();
    await driver.powerOff(id, ms(0));
    writeFileSync(file('qemu.pid'), String(process.pid));
    expect(await power()).toBe('shutdown');
    await driver.destroy(id);
    // The process that had the pid in the file is this one, and it goes on.
    await expect.poll(() => existsSync(`/proc/${guest}`)).toBe(false);
  });

  it('are one process, also when an agent ended before their pid was written', async () => {
    await driver.spawn(spec, never);
    const first = pid();
    unlinkSync(file('qemu.pid'));
    await driver.reboot(id, 'hard', []);
    expect(existsSync(`/proc/${first}`)).toBe(false);
    expect(pid()).not.toBe(first);
    unlinkSync(file('qemu.pid'));
    await driver.destroy(id);
    expect(processesIn(join(stateDir, 'guests', id))).toEqual([]);
  });

  it('keep their image when the image cache drops it', async () => {
    await driver.spawn(spec, never);
    unlinkSync(image);
    await driver.powerOff(id, ms(0));
    await driver.powerOn(id, []);
    await expect.poll(said, soon).toMatch(/is up[\s\S]*is up|is up/);
  });

  it('cannot fill the disk with what they write to the console', async () => {
    await driver.spawn(spec, never);
    writeFileSync(file('console.log'), Buffer.alloc(5 << 20, 'x'), { flag: 'a' });
    writeFileSync(file('console.log'), 'the newest', { flag: 'a' });
    await driver.list();
    expect(statSync(file('console.log')).size).toBeLessThan(2 << 20);
    expect((await driver.consoleLog.tail(id, 10)).toString()).toBe('the newest');
  });

  it('do not hide each other when one hangs', async () => {
    const other = { ...spec, mark: { ...spec.mark, serverId: ServerId.parse(randomUUID()) } };
    await driver.spawn(spec, never);
    await driver.spawn(other, never);
    process.kill(pid(), 'SIGSTOP');
    const states = new Map((await driver.list()).map((guest) => [guest.mark.serverId, guest.power]));
    expect([states.get(id), states.get(other.mark.serverId)]).toEqual(['noState', 'running']);
    await driver.destroy(other.mark.serverId);
  });

  it('that were being built when the agent ended are shown, and built anew', async () => {
    await driver.spawn(spec, never);
    const before = pid();
    const definition = JSON.parse(readFileSync(file('guest.json'), 'utf8'));
    writeFileSync(file('guest.json'), JSON.stringify({ ...definition, phase: 'building' }));
    expect(await driver.list()).toMatchObject([{ mark: spec.mark, power: 'noState' }]);
    await driver.spawn(spec, never);
    expect(await power()).toBe('running');
    expect(pid()).not.toBe(before);
  });

  it('are whole or not there when the agent ends while their folder is made or removed', async () => {
    const half = join(stateDir, 'guests', `.unfinished-${id}`);
    mkdirSync(half);
    writeFileSync(join(half, 'disk.qcow2'), 'half');
    const next = open();
    expect(existsSync(half)).toBe(false);
    await next.spawn(spec, never);
    await next.close();
  });

  it('of another cloud are neither shown nor touched', async () => {
    await driver.spawn(spec, never);
    const theirs = open({ cloudId: 'another-cloud' });
    expect(await theirs.list()).toEqual([]);
    await theirs.destroy(id);
    await expect(theirs.powerOff(id, ms(0))).rejects.toMatchObject({ code: 'serverNotOnHost' });
    await expect(
      theirs.spawn({ ...spec, mark: { ...spec.mark, cloudId: 'another-cloud' } }, never),
    ).rejects.toMatchObject({
      code: 'fault',
    });
    await theirs.close();
    expect(await power()).toBe('running');
  });

  it('boot an image of format qcow2', async () => {
    const converted = join(stateDir, 'image.qcow2');
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', image, converted]);
    await driver.spawn({ ...spec, disks: rootFrom(fileSource(converted, 'qcow2')) }, never);
    await expect.poll(said, soon).toContain('is up');
  });

  it.each(['vmdk', 'vhdx', 'vdi', 'vhd'] as const)('are not made of an image of format %s', async (format) => {
    expect(driver.imageFormats).not.toContain(format);
    const spawn = driver.spawn({ ...spec, disks: rootFrom(fileSource(image, format)) }, never);
    await expect(spawn).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('have an attached disk grown as if it stood alone, whatever it says itself', async () => {
    const path = join(stateDir, 'attached');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-u', '-b', '/nonexistent', '-F', 'raw', path, '1M']);
    await driver.spawn({ ...spec, powerOn: false }, never);
    const kinds = { format: 'qcow2', readOnly: false, bus: 'virtio', bootIndex: null } as const;
    await driver.disks.attach(id, { diskId: 'd', serial: 'd', connection: { kind: 'file', path }, ...kinds });
    await driver.diskGrowing.grow(id, 'd', bytes(2 << 20));
    expect(Number(readFileSync(path).readBigUInt64BE(24))).toBe(2 << 20);
  });

  it('start a kernel directly, with its ramdisk and command line', async () => {
    const kernel = join(stateDir, 'kernel');
    writeFileSync(kernel, tinyKernel());
    const source = fileSource(kernel);
    await driver.spawn(
      { ...spec, directBoot: { kernel: source, ramdisk: source, commandLine: 'root=/dev/vda' } },
      never,
    );
    await expect.poll(said, soon).toMatch(/a kernel is up: \S+ root=\/dev\/vda/);
  });

  it('start the kernel of a rescue image while they are rescued, and their own before and after', async () => {
    const kernel = join(stateDir, 'kernel');
    writeFileSync(kernel, tinyKernel());
    const source = fileSource(kernel);
    const { serverId } = spec.mark;
    const beside = (commandLine: string) => ({ ...spec, directBoot: { kernel: source, ramdisk: null, commandLine } });
    await driver.spawn(spec, never);
    await expect.poll(said, soon).toContain('is up');
    await driver.rescuing.rescue(beside('rescued'), never);
    await expect.poll(said, soon).toMatch(/a kernel is up: \S+ rescued/);
    await driver.destroy(serverId);

    await driver.spawn(beside('its own'), never);
    await expect.poll(said, soon).toMatch(/a kernel is up: \S+ its own/);
    await driver.rescuing.rescue(spec, never);
    await expect.poll(said, soon).toMatch(/its own[\s\S]* is up/);
    await driver.rescuing.unrescue(serverId, spec.nics);
    await expect.poll(said, soon).toMatch(/its own[\s\S]*its own/);
  });

  it('boot an ISO image from a CD, with an empty disk beside it', async () => {
    const tree = join(stateDir, 'tree');
    mkdirSync(tree);
    writeFileSync(join(tree, 'boot.img'), Buffer.concat([tinyGuest('from the CD is up\r\n')], 2048));
    const iso = join(stateDir, 'image.iso');
    const boot = ['-b', 'boot.img', '-no-emul-boot', '-boot-load-size', '4'];
    execFileSync('xorriso', ['-as', 'mkisofs', '-quiet', '-o', iso, ...boot, tree], { stdio: 'ignore' });
    await driver.spawn({ ...spec, disks: rootFrom(fileSource(iso, 'iso'), gib(1)) }, never);
    await expect.poll(said, soon).toContain('from the CD is up');
  });

  it.each<[string, Partial<GuestSpec> & { as?: DiskFormat; properties?: Record<string, string> }, string]>([
    ['an image that is not what it says', { as: 'qcow2' }, 'fault'],
    ['a disk bus that does not exist', { properties: { hw_disk_bus: 'fdc' } }, 'unsupported'],
    ['a config drive with a path that leads out', { configDrive: new Map([['../../x', new Uint8Array()]]) }, 'fault'],
    ['an image that is not there', { disks: rootFrom(fileSource('/nonexistent/image')) }, 'fault'],
    ['a network device that is not there', { nics: [tapNic('p', 'no-such-tap')] }, 'fault'],
    ['a network device whose name is an option', { nics: [tapNic('p', 'x,script=/bin/sh')] }, 'fault'],
    ['a port of a switch that is not here', { nics: [tapNic('p', '', { attachment: SWITCH })] }, 'unsupported'],
  ])('are refused for %s, with nothing left', async (_what, { as, properties, ...change }, code) => {
    const asked = {
      ...spec,
      ...(as ? { disks: rootFrom(fileSource(image, as)) } : {}),
      ...(properties ? { image: { ...spec.image, properties } } : {}),
      ...change,
    };
    await expect(driver.spawn(asked, never)).rejects.toMatchObject({ code });
    expect(existsSync(file(''))).toBe(false);
  });

  it.runIf(isRoot)('are refused with `noResources` on a full disk, with nothing left', async () => {
    const small = join(stateDir, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', small]);
    try {
      const full = open({ stateDir: small });
      const configDrive = new Map([['openstack/latest/user_data', new Uint8Array(1 << 20)]]);
      const error = await full.spawn({ ...spec, configDrive }, never).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: 'noResources' });
      expect(existsSync(join(small, 'guests', id))).toBe(false);
      await full.close();
    } finally {
      execFileSync('umount', [small]);
    }
  });

  it('take no more of the host than their flavor allows', async () => {
    const extraSpecs = {
      'quota:disk_read_bytes_sec': '1000000',
      'quota:disk_total_iops_sec': '50',
      'quota:cpu_shares': '512',
    };
    await driver.spawn({ ...spec, flavor: { ...spec.flavor, extraSpecs } }, never);
    const qmp = await QmpClient.connect(file('fds.sock'), 1_000);
    const [root] = await qmp.call<{ qdev: string; inserted: Record<string, number> }[]>('query-block');
    expect(root!.inserted).toMatchObject({ bps_rd: 1_000_000, iops: 50, bps_wr: 0 });
    qmp.close();
    const groups = readFileSync(`/proc/${pid()}/cgroup`, 'utf8')
      .split('\n')
      .map((line) => line.split(':'));
    const limit = (controller: string, name: string) => {
      const [, , path] = groups.find(([, controllers]) => controllers?.split(',').includes(controller)) ?? [];
      return path?.includes(id) ? readFileSync(join('/sys/fs/cgroup', controller, path, name), 'utf8').trim() : null;
    };
    const memory = limit('memory', 'memory.limit_in_bytes');
    if (memory !== null) expect(Number(memory)).toBe((16 + 1 + 1_024) * 1024 ** 2);
    const shares = limit('cpu', 'cpu.shares');
    if (shares !== null) expect(shares).toBe('512');
    const { reason } = await driver.probe(never);
    expect(reason).toMatch(memory === null ? /limits/ : /limits by \d+ control groups/);
  });

  it.runIf(hasPages)('have their memory on large pages where the host has them', async () => {
    const free = () => Number(readFileSync(`${PAGES}/free_hugepages`, 'utf8'));
    const before = free();
    const flavor = { ...spec.flavor, extraSpecs: { 'hw:mem_page_size': 'large' } };
    await driver.spawn({ ...spec, flavor }, never);
    expect(before - free()).toBe(spec.flavor.memory / 2);
    await expect.poll(said, soon).toContain('is up');
    const tooMuch = { ...spec, flavor: { ...flavor, memory: mib(1 << 20) } };
    const other = { ...tooMuch, mark: { ...spec.mark, serverId: ServerId.parse(randomUUID()) } };
    await expect(driver.spawn(other, never)).rejects.toMatchObject({ code: 'noResources' });
  });

  it.runIf(hasTpm)('have a TPM of their own, which ends with them', async () => {
    const image = { ...spec.image, properties: { hw_tpm_version: '2.0', hw_tpm_model: 'tpm-crb' } };
    await driver.spawn({ ...spec, image }, never);
    const emulator = () => Number(readFileSync(file('tpm/swtpm.pid'), 'utf8'));
    const user = /^Uid:\s+(\d+)/m;
    const userOf = (of: number) => user.exec(readFileSync(`/proc/${of}/status`, 'utf8'))?.[1];
    expect(userOf(emulator())).toBe(userOf(pid()));
    const limits = (of: number) => readFileSync(`/proc/${of}/cgroup`, 'utf8');
    expect(limits(emulator())).toBe(limits(pid()));
    expect(existsSync(file('tpm/tpm2-00.permall'))).toBe(true);
    const first = emulator();
    await driver.reboot(id, 'hard', []);
    await expect.poll(() => existsSync(`/proc/${first}`), soon).toBe(false);
    const second = emulator();
    expect(second).not.toBe(first);
    await driver.destroy(id);
    await expect.poll(() => existsSync(`/proc/${second}`), soon).toBe(false);
  });

  it('are refused a TPM where none can be emulated, with nothing left', async () => {
    const { PATH } = process.env;
    const image = { ...spec.image, properties: { hw_tpm_version: '2.0' } };
    const folder = join(stateDir, 'bin');
    mkdirSync(folder);
    for (const tool of ['qemu-system-x86_64', 'qemu-img', 'perl', 'ip'])
      symlinkSync(execFileSync('which', [tool], { encoding: 'utf8' }).trim(), join(folder, tool));
    process.env.PATH = folder;
    try {
      await expect(driver.spawn({ ...spec, image }, never)).rejects.toMatchObject({ code: 'unsupported' });
    } finally {
      process.env.PATH = PATH;
    }
    expect(existsSync(file(''))).toBe(false);
  });

  it.runIf(isRoot)('may be on several networks, and leave the devices where they are', async () => {
    const names = ['a', 'b'].map((name) => `omv-nets-${process.pid}-${name}`);
    const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    const nics = names.map((netns, i) =>
      tapNic(`port-${i}`, `taps${i}`, {
        mac: `fa:16:3e:00:00:0${i}`,
        attachment: { kind: 'tap', tap: `taps${i}`, netns },
      }),
    );
    try {
      names.forEach((netns, i) => {
        ip('netns', 'add', netns);
        ip('-n', netns, 'tuntap', 'add', 'dev', `taps${i}`, 'mode', 'tap');
        ip('-n', netns, 'link', 'set', 'dev', `taps${i}`, 'up');
      });
      const isUsed = (i: number) => ip('-n', names[i]!, 'link', 'show', 'dev', `taps${i}`).includes('LOWER_UP');
      expect([isUsed(0), isUsed(1)]).toEqual([false, false]);
      await driver.spawn({ ...spec, nics }, never);
      expect([isUsed(0), isUsed(1)]).toEqual([true, true]);
      // The process itself has no network at all.
      const own = execFileSync('nsenter', [`--net=/proc/${pid()}/ns/net`, 'ip', '-j', 'link'], { encoding: 'utf8' });
      expect(JSON.parse(own).map((link: { ifname: string }) => link.ifname)).toEqual(['lo']);
      await driver.powerOff(id, ms(0));
      expect([isUsed(0), isUsed(1)]).toEqual([false, false]);
    } finally {
      await driver.destroy(id);
      for (const netns of names) ip('netns', 'delete', netns);
    }
  });

  it('cannot be had where QEMU is not installed, and the probe says so', async () => {
    const without = open({ qemu: 'no-such-qemu' });
    expect(await without.probe(never)).toMatchObject({
      health: 'undetected',
      reason: expect.stringContaining('not installed'),
    });
    await expect(without.spawn(spec, never)).rejects.toMatchObject({ code: 'unsupported' });
    await without.close();
  });

  it('run on KVM only when a guest really ran on it', { timeout: 30_000 }, async () => {
    const { health, reason, traits } = await open({ accel: undefined }).probe(never);
    expect(health).toBe('healthy');
    const kvm = /kvm with CPU \w+: a guest ran/.test(reason);
    expect(traits).toContain(kvm ? 'CUSTOM_ACCEL_KVM' : 'CUSTOM_ACCEL_TCG');
    expect(traits).not.toContain(kvm ? 'CUSTOM_ACCEL_TCG' : 'CUSTOM_ACCEL_KVM');
  });
});
