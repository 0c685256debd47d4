import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { GuestSpec } from '../hypervisor-driver.js';
import type { CpuSets } from './dedicated-cpus.js';
import { machineCpus } from './machine-cpus.js';
import { QemuDriver } from './qemu.driver.js';
import { CLOUD, TinyGuests } from './testing/tiny-guests.js';

const never = new AbortController().signal;
const [first, second] = machineCpus().map(({ cpu }) => cpu);
const dirs = ['here', 'there'].map((name) => mkdtempSync(join(tmpdir(), `omnivisor-cpus-${name}-`))) as [
  string,
  string,
];
const tiny = new TinyGuests(dirs);
const drivers: QemuDriver[] = [];
const open = (cpus?: CpuSets, stateDir = dirs[0]) => {
  const driver = new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg', ...(cpus ? { cpus } : {}) });
  drivers.push(driver);
  return driver;
};
const ids: ServerId[] = [];
const guest = (extraSpecs: Record<string, string> = {}): GuestSpec => {
  const id = ServerId.parse(randomUUID());
  ids.push(id);
  const spec = tiny.spec(id);
  return { ...spec, flavor: { ...spec.flavor, extraSpecs } };
};
const dedicated = { 'hw:cpu_policy': 'dedicated' };
const noResources = expect.objectContaining({ code: 'noResources' });

const pidOf = (id: ServerId, dir = dirs[0]) => readFileSync(join(dir, 'guests', id, 'qemu.pid'), 'utf8').trim();
/** Where each thread of the guest's process may run, by the names that QEMU gives to them. */
const places = (id: ServerId, dir = dirs[0]) => {
  const pid = pidOf(id, dir);
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
    return /^Cpus_allowed_list:\s*(\S+)/m.exec(status)![1]!;
  });
};
const everyThreadOn = (id: ServerId, cpu: number, dir = dirs[0]) =>
  expect(new Set(places(id, dir))).toEqual(new Set([`${cpu}`]));

afterEach(async () => {
  for (const dir of dirs) {
    const driver = open(undefined, dir);
    for (const id of ids) await driver.destroy(id);
  }
  ids.length = 0;
  for (const driver of drivers.splice(0)) await driver.close();
});
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true });
});

describe.runIf(second !== undefined)('a host with dedicated CPUs', () => {
  const sets = { dedicated: [second!] };

  it('keeps them for those guests that have them, and tells how many there are', async () => {
    const driver = open(sets);
    const here = await driver.inventory();
    expect([here.dedicatedCpus, here.vcpus]).toEqual([1, machineCpus().length - 1]);
    const [own, common] = [guest(dedicated), guest()];
    await driver.spawn(own, never);
    await driver.spawn(common, never);
    everyThreadOn(own.mark.serverId, second!);
    for (const place of places(common.mark.serverId)) expect(place).not.toContain(`${second}`);
    await tiny.inside.up(own.mark.serverId);
    await expect(driver.spawn(guest(dedicated), never)).rejects.toEqual(noResources);
  });

  it('remembers them when the guest is off and the agent is another, until the guest goes', async () => {
    const spec = guest(dedicated);
    const { serverId: id } = spec.mark;
    const before = open(sets);
    await before.spawn(spec, never);
    await before.close();
    const later = open(sets);
    await expect(later.spawn(guest(dedicated), never)).rejects.toEqual(noResources);
    await later.powerOff(id, ms(0));
    await expect(later.spawn(guest(dedicated), never)).rejects.toEqual(noResources);
    await later.powerOn(id, []);
    everyThreadOn(id, second!);
    await later.suspending.suspend(id);
    await expect(later.spawn(guest(dedicated), never)).rejects.toEqual(noResources);
    await later.suspending.resume(id, []);
    everyThreadOn(id, second!);
    await later.destroy(id);
    const next = guest(dedicated);
    await later.spawn(next, never);
    everyThreadOn(next.mark.serverId, second!);
  });

  it('gives none twice to guests that are made at once', async () => {
    const driver = open({ dedicated: [first!, second!] });
    const specs = [guest(dedicated), guest(dedicated), guest(dedicated)];
    const results = await Promise.allSettled(specs.map((spec) => driver.spawn(spec, never)));
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    const made = specs.filter((_, i) => results[i]!.status === 'fulfilled');
    expect(made.map(({ mark }) => places(mark.serverId)[0]).sort()).toEqual([`${first}`, `${second}`]);
    await expect(driver.spawn(guest(), never)).rejects.toEqual(noResources);
  });

  it('holds both sets of a guest that is resized until that is settled', async () => {
    const driver = open({ dedicated: [first!, second!] });
    const spec = guest(dedicated);
    const { serverId: id } = spec.mark;
    const other = { ...spec.flavor, memory: mib(32) };
    await driver.spawn(spec, never);
    everyThreadOn(id, first!);
    const resize = async () => {
      await driver.powerOff(id, ms(0));
      await driver.resizing.resize(id, other, never);
      await driver.powerOn(id, []);
      everyThreadOn(id, second!);
      await expect(driver.spawn(guest(dedicated), never)).rejects.toEqual(noResources);
    };
    await resize();
    await driver.powerOff(id, ms(0));
    await driver.resizing.revertResize(id);
    await driver.powerOn(id, []);
    everyThreadOn(id, first!);
    await resize();
    await driver.resizing.confirmResize(id);
    const next = guest(dedicated);
    await driver.spawn(next, never);
    everyThreadOn(next.mark.serverId, first!);
  });

  it('gives them to a guest that gets another flavor, and takes them back', async () => {
    const driver = open(sets);
    const spec = guest();
    const { serverId: id } = spec.mark;
    await driver.spawn(spec, never);
    await driver.powerOff(id, ms(0));
    await driver.resizing.resize(id, { ...spec.flavor, extraSpecs: dedicated }, never);
    await driver.powerOn(id, []);
    everyThreadOn(id, second!);
    const image = { ...spec.image, properties: { hw_cpu_policy: 'dedicated' } };
    await driver.powerOff(id, ms(0));
    await driver.resizing.revertResize(id);
    await driver.powerOn(id, []);
    for (const place of places(id)) expect(place).not.toContain(`${second}`);
    const rebuilt = { ...spec, mark: { ...spec.mark, build: 1 } };
    await expect(driver.rebuilding.rebuild({ ...rebuilt, image }, never)).rejects.toMatchObject({
      code: 'unsupported',
    });
    await driver.rebuilding.rebuild(rebuilt, never);
    await driver.spawn(guest(dedicated), never);
  });

  it('pins vCPUs, and leaves the rest of the process where others are, when the flavor says so', async () => {
    const driver = open({ ...sets, shared: [first!] });
    const spec = guest({ ...dedicated, 'hw:emulator_threads_policy': 'share' });
    await driver.spawn(spec, never);
    const all = places(spec.mark.serverId);
    expect(all.filter((place) => place === `${second}`)).toHaveLength(1);
    expect(all.filter((place) => place === `${first}`)).toHaveLength(all.length - 1);
  });

  it('gives a guest that comes while it runs CPUs of its own there', async () => {
    const spec = guest(dedicated);
    const { serverId: id } = spec.mark;
    const [source, target] = [open(sets), open({ dedicated: [first!] }, dirs[1])];
    await source.spawn(spec, never);
    await tiny.inside.up(id);
    const offer = await source.liveMigration.offer(id);
    const ticket = await target.liveMigration.receive(spec, offer, { disks: 'auto', attached: [] }, never);
    await source.liveMigration.send(id, ticket, { signal: never });
    await target.liveMigration.accept(id);
    everyThreadOn(id, first!, dirs[1]);
  });

  it('moves guests off what is not theirs when the sets change, and gives those that had it other CPUs as they start', async () => {
    const [own, common] = [guest(dedicated), guest()];
    const before = [open(sets), open()] as const;
    await before[0].spawn(own, never);
    await before[1].spawn(common, never);
    expect(places(common.mark.serverId)[0]).toContain(`${second}`);
    for (const driver of before) await driver.close();

    const driver = open({ dedicated: [first!] });
    await expect(driver.probe(never)).resolves.toMatchObject({ health: 'healthy' });
    // The processor of a guest that runs stays its own, though it is not dedicated any more.
    everyThreadOn(own.mark.serverId, second!);
    await driver.reboot(own.mark.serverId, 'hard', []);
    everyThreadOn(own.mark.serverId, first!);
    await driver.probe(never);
    for (const place of places(common.mark.serverId)) expect(place).not.toContain(`${first}`);
  });
});

describe('sets of CPUs that this machine cannot have', () => {
  it('make the host unhealthy, with the reason', async () => {
    expect(await open({ dedicated: [4_000] }).probe(never)).toMatchObject({
      health: 'unhealthy',
      reason: expect.stringContaining('no CPUs 4000 here'),
    });
  });
});
