import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { ms, type ServerId } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordDisks } from '../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import type { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { newDrive, newMachine } from '../../../../../tools/doubles/hyperv/state.mjs';
import { fileDisk } from '../common/test-guest.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import type { HyperVDriver } from './hyperv.driver.js';
import { Bench, never } from './testing/bench.js';
import { InProcess, inside, machineOf, ROOT } from './testing/double.js';

const VOLUME = 'C:\\Volumes\\one.vhdx';
const THEIRS = 'C:\\Theirs\\disk.vhdx';

let bench: Bench;
let host: HyperVHost;
let driver: HyperVDriver;
let spec: GuestSpec & { id: ServerId };
beforeEach(async () => {
  ({ bench, host, driver, spec } = await Bench.guestOn());
});
afterEach(() => bench.close());

const record = (path: string) => {
  mkdirSync(host.local(path.slice(0, path.lastIndexOf('\\'))), { recursive: true });
  recordDisks.create(host.local(path), { format: 'VHDX', type: 'Dynamic', size: 1 << 20 });
};
type Drive = ReturnType<typeof newDrive>;
const drives = (): Drive[] => machineOf(host, spec.id).drives;
const diskAt = (place: number) =>
  drives().find(({ kind, location }) => kind === 'HardDiskDrive' && location === place)?.path;
/** Is not heard of again from the first call of that kind on. */
const cutOffAt = (cmdlet: RegExp, change: (cut: HyperVDriver) => Promise<unknown>) => {
  const processes = new InProcess(host);
  const run = host.run;
  host.run = async (...call: Parameters<typeof run>) => {
    if (!cmdlet.test(call[0])) return run.apply(host, call);
    processes.cut();
    return [];
  };
  const over = expect(change(bench.driver(host, { open: processes.open }))).rejects.toThrow();
  return over.finally(() => {
    host.run = run;
  });
};

describe('a guest that is resized', () => {
  it('and on again takes the same flavor once more, and no other', async () => {
    await driver.spawn(spec, never);
    await driver.powerOff(spec.id, ms(0));
    const flavor = { ...spec.flavor, vcpus: 2 };
    await driver.resizing.resize(spec.id, flavor, never);
    await driver.powerOn(spec.id, []);
    const before = structuredClone(machineOf(host, spec.id));
    await driver.resizing.resize(spec.id, flavor, never);
    expect(machineOf(host, spec.id)).toEqual(before);
    await expect(driver.resizing.resize(spec.id, { ...flavor, vcpus: 3 }, never)).rejects.toMatchObject({
      code: 'fault',
      message: expect.stringContaining('not settled'),
    });
  });
});

describe('a guest that was adopted', () => {
  const data = 'C:\\Theirs\\data.vhdx';
  const iso = 'C:\\Theirs\\setup.iso';
  const rebuilt = (by = driver) =>
    by.rebuilding.rebuild({ ...spec, nics: [], mark: { ...spec.mark, build: 1 } }, never);
  beforeEach(async () => {
    for (const path of [THEIRS, data]) record(path);
    writeFileSync(host.local(iso), '');
    const made = { Name: 'theirs', Generation: 2, MemoryStartupBytes: 64 << 20, Path: 'C:\\Theirs', root: '' };
    const vm = { ...newMachine(made), drives: [newDrive(THEIRS, 0), newDrive(data, 1)] };
    host.vms.set(vm.Id, vm);
    await driver.adoption.adopt(vm.Id, spec.mark, []);
  });
  const isNew = () => {
    expect(diskAt(0)).toMatch(/\\root-[0-9a-f]+\.vhdx$/);
    expect(diskAt(1)).toBe(data);
    const { firmware } = machineOf(host, spec.id);
    expect(drives().find(({ id }) => id === firmware.order[0])?.location).toBe(0);
    expect(existsSync(host.local(THEIRS))).toBe(true);
    expect(machineOf(host, spec.id).State).toBe('Running');
  };

  it('is rebuilt on a disk of its own; its former one stays as a file', async () => {
    await rebuilt();
    isNew();
    await driver.reboot(spec.id, 'hard', []);
    isNew();
  });

  it.each([/^Remove-VMHardDiskDrive$/, /^Add-VMHardDiskDrive$/])(
    'is rebuilt when that is cut off at %s',
    async (at) => {
      await cutOffAt(at, rebuilt);
      await rebuilt();
      isNew();
    },
  );

  it.each(['HardDiskDrive', 'DvdDrive'])('is rescued, though its own %s is where its root would go', async (kind) => {
    const machine = machineOf(host, spec.id);
    const [root, second] = machine.drives as [Drive, Drive];
    machine.drives = [root, { ...second, kind }, { ...newDrive(iso, 63), kind: 'DvdDrive' }];
    const configDrive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
    const inserted = () => drives().find(({ location }) => location === 63)?.path;
    await driver.rescuing.rescue({ ...spec, nics: [], configDrive }, never);
    expect(diskAt(0)).toMatch(/\\rescue-[0-9a-f]+\.vhdx$/);
    expect(diskAt(3)).toBe(THEIRS);
    expect(inserted()).toContain(spec.id);
    await driver.reboot(spec.id, 'hard', []);
    expect(diskAt(3)).toBe(THEIRS);
    await driver.rescuing.unrescue(spec.id, []);
    expect([0, 3].map(diskAt)).toEqual([THEIRS, undefined]);
    expect(drives().find(({ location }) => location === 1)).toMatchObject({ kind, path: data });
    expect(inserted()).toBe(iso);
    expect(machineOf(host, spec.id).State).toBe('Running');
  });

  it('keeps what its operator has put in its DVD drive when it is rescued with nothing in it', async () => {
    machineOf(host, spec.id).drives.push({ ...newDrive(iso, 63), kind: 'DvdDrive' });
    await driver.rescuing.rescue({ ...spec, nics: [], configDrive: null }, never);
    await driver.rescuing.unrescue(spec.id, []);
    expect(drives().find(({ location }) => location === 63)?.path).toBe(iso);
  });

  it('is not rebuilt under a checkpoint that somebody has taken meanwhile', async () => {
    await cutOffAt(/^Remove-VMHardDiskDrive$/, rebuilt);
    await host.run('Checkpoint-VM', { Name: 'theirs', SnapshotName: 'point' });
    await expect(rebuilt()).rejects.toMatchObject({ code: 'fault', message: expect.stringContaining('not ours') });
    await host.run('Remove-VMSnapshot', { VMName: 'theirs', Name: 'point' });
    await expect.poll(() => diskAt(0)).toBe(THEIRS);
    await rebuilt();
    isNew();
  });
});

describe('a guest that is rescued', () => {
  const volume = fileDisk(VOLUME, 'one', { format: 'vhdx' });
  const dvd = () => drives().find(({ kind }) => kind === 'DvdDrive')?.path;
  const isos = () =>
    readdirSync(host.local(`${ROOT}\\guests\\${spec.id}`)).filter((name) => name.toLowerCase().endsWith('.iso'));

  it('has the second place for its root, where an older release has put a volume', async () => {
    record(VOLUME);
    await driver.spawn(spec, never);
    await driver.disks.attach(spec.id, volume);
    drives().find(({ path }) => path === VOLUME)!.location = 1;
    await driver.reboot(spec.id, 'hard', []);
    expect(diskAt(1)).toBe(VOLUME);
    await driver.rescuing.rescue(spec, never);
    expect([0, 1, 3].map(diskAt)).toEqual([
      expect.stringContaining('\\rescue-'),
      expect.stringContaining('\\root-'),
      VOLUME,
    ]);
    await driver.rescuing.unrescue(spec.id, []);
    expect([0, 1, 3].map(diskAt)).toEqual([expect.stringContaining('\\root-'), undefined, VOLUME]);
    inside(host, spec.id).write(1, 'V');
    expect(recordDisks.contentOf(host.local(VOLUME))).toBe('V');
  });

  it('has the config drive of its rescue also when that was cut off', async () => {
    spec = { ...spec, configDrive: new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]) };
    await driver.spawn(spec, never);
    const own = dvd();
    await cutOffAt(/^(Set|Add)-VMDvdDrive$/, (cut) => cut.rescuing.rescue(spec, never));
    expect(dvd()).toBe(own);
    await driver.rescuing.rescue(spec, never);
    expect(dvd()).not.toBe(own);
    expect(existsSync(host.local(dvd()!))).toBe(true);
    await driver.rescuing.unrescue(spec.id, []);
    expect(dvd()).toBe(own);
    expect(isos()).toHaveLength(1);
  });
});
