import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { recordDisks } from '../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { newDrive, newMachine } from '../../../../../tools/doubles/hyperv/state.mjs';
import { nextAction } from '../../agent/reconcile.js';
import { rootFrom, testGuest } from '../common/test-guest.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import { HyperVDriver } from './hyperv.driver.js';
import { Images, InProcess, machineOf } from './testing/double.js';

const cloudId = 'test-cloud';
const never = new AbortController().signal;
const ROOT = 'C:\\ClusterStorage\\Volume1\\Omnivisor';
const images = new Images();
beforeAll(() => images.open());
afterAll(() => images.close());

let dir: string;
let members: Member[];
let drivers: HyperVDriver[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'hyperv-cluster-'));
  members = [];
  drivers = [];
});
afterEach(async () => {
  for (const driver of drivers) await driver.close();
  for (const { host } of members) await host.close();
  rmSync(dir, { recursive: true });
});

class Member {
  readonly processes: InProcess;

  constructor(readonly host: HyperVHost) {
    this.processes = new InProcess(host);
  }

  /** No connection is made any more; `how` hangs: it is, and nothing is answered. */
  die(how: 'refuses' | 'hangs' = 'refuses'): void {
    if (how === 'refuses') this.processes.cut();
    else this.host.unreachable = true;
  }

  comeBack(): void {
    this.processes.join();
    this.host.unreachable = false;
  }
}

/** @param drive the cluster's storage; of its own when none is given */
const member = async (name: string, memoryGib: number, drive?: string): Promise<Member> => {
  const host = new HyperVHost(join(dir, name), {
    facts: { name, root: ROOT, memory: memoryGib * 1024 ** 3 },
    ...(drive ? { drive } : {}),
  });
  const made = new Member(await host.open());
  members.push(made);
  return made;
};

const cluster = async (): Promise<[Member, Member]> => {
  const drive = join(dir, 'cluster');
  return [await member('A', 64, drive), await member('B', 32, drive)];
};

const MOVES_WITHIN = 30_000;
const driverOver = (over: readonly Member[]) => {
  const driver = new HyperVDriver({
    cloudId,
    nodes: over.map(({ host, processes }) => ({
      name: `${host.facts.name.toLowerCase()}.example`,
      open: processes.open,
      answerTimeout: 300,
    })),
    memberTimes: { patience: 200, lookAgain: 20, movesWithin: MOVES_WITHIN },
    switches: { physnet1: 'External' },
    generation: 2,
    dynamicMemoryRatio: 1,
  });
  drivers.push(driver);
  return driver;
};

/** The agent has ended, and another one takes the host up. */
const restarted = async (over: readonly Member[]) => {
  await drivers.at(-1)!.close();
  return driverOver(over);
};

const guest = (): GuestSpec & { id: ServerId } => {
  const id = ServerId.parse(randomUUID());
  const spec = testGuest(id, cloudId, { disks: rootFrom(images.record(64 << 20)) });
  return { ...spec, id, flavor: { ...spec.flavor, memory: mib(64) } };
};

const foreign = ({ host }: Member) => {
  const path = `${ROOT}\\theirs.vhdx`;
  const vm = newMachine({ Name: 'theirs', Generation: 2, MemoryStartupBytes: 64 << 20, Path: ROOT, root: '' });
  recordDisks.create(host.local(path), { format: 'VHDX', type: 'Dynamic', size: 1 << 30 });
  vm.drives.push(newDrive(path) as never);
  vm.State = 'Running';
  host.vms.set(vm.Id, vm);
  return vm;
};

const takeOff = ({ host }: Member, id: ServerId) => {
  const vm = machineOf(host, id);
  host.vms.delete(vm.Id);
  return vm;
};
const register = ({ host }: Member, vm: ReturnType<typeof machineOf>) => {
  host.vms.set(vm.Id, vm);
  host.changed(vm);
};
/** The cluster starts a guest of a dead member on another, or moves one of a member that lives. */
const moveTo = (from: Member, to: Member, id: ServerId) => {
  const vm = takeOff(from, id);
  register(to, vm);
  return vm;
};

/** What an agent does about a server that the log has as running. */
const actionFor = async (driver: HyperVDriver, { id, mark }: GuestSpec & { id: ServerId }) => {
  const found = (await driver.list()).find((one) => one.mark.serverId === id);
  const desired = { serverId: id, attempt: mark.attempt, spawned: true, power: 'running', operation: null };
  return nextAction(desired as never, found);
};

it('is followed when it moves a guest', async () => {
  const [a, b] = await cluster();
  const driver = driverOver([a, b]);
  const spec = guest();
  await driver.spawn(spec, never);
  const vm = moveTo(a, b, spec.id);
  expect(await driver.inspect(spec.id)).toMatchObject({ power: 'running', stage: 'settled' });
  expect((await driver.consoleTickets.open(spec.id, 'rdp')).host).toBe('B');
  await driver.powerOff(spec.id, ms(0));
  expect(vm.State).toBe('Off');
  expect(await driver.list()).toHaveLength(1);
  await driver.destroy(spec.id);
  expect(b.host.vms.size).toBe(0);
});

describe('a guest that the cluster takes off one member before another has it', () => {
  it('stays known, is left alone, and is told where it comes up', async () => {
    const [a, b] = await cluster();
    const driver = driverOver([a, b]);
    const spec = guest();
    await driver.spawn(spec, never);
    const told: ServerId[] = [];
    void (async () => {
      for await (const { serverId } of driver.events(never)) told.push(serverId);
    })();
    await expect.poll(() => told).toContain(spec.id);

    const vm = takeOff(a, spec.id);
    told.length = 0;
    const again = { ...spec, mark: { ...spec.mark, attempt: spec.mark.attempt + 1 } };
    for (let look = 0; look < 2; look++) {
      expect(await driver.list()).toMatchObject([{ mark: spec.mark, stage: 'settled', power: 'noState' }]);
      expect(await actionFor(driver, spec)).toBeNull();
      for (const asked of [
        () => driver.inspect(spec.id),
        () => driver.powerOff(spec.id, ms(0)),
        () => driver.spawn(again, never),
        () => driver.destroy(spec.id),
      ])
        await expect(asked()).rejects.toMatchObject({ code: 'unavailable' });
    }
    register(b, vm);
    await expect.poll(() => told).toContain(spec.id);
    expect(await driver.inspect(spec.id)).toMatchObject({ mark: spec.mark, power: 'running' });
    expect(existsSync(b.host.local(vm.drives[0].path))).toBe(true);
    await driver.destroy(spec.id);
    expect(await driver.list()).toEqual([]);
  });

  describe('at looks that are far apart', () => {
    beforeEach(() => vi.useFakeTimers({ toFake: ['Date', 'performance'] }));
    afterEach(() => vi.useRealTimers());
    const later = (time: number) => vi.advanceTimersByTime(time);
    const spawned = async () => {
      const [a, b] = await cluster();
      const driver = driverOver([a, b]);
      const spec = guest();
      await driver.spawn(spec, never);
      return { a, b, driver, spec };
    };

    it('is missing once it has been on none of them at two of these, and had come up nowhere between', async () => {
      const { a, b, driver, spec } = await spawned();
      const vm = takeOff(a, spec.id);
      expect(await actionFor(driver, spec)).toBeNull();
      later(MOVES_WITHIN - 1);
      expect(await actionFor(driver, spec)).toBeNull();
      register(b, vm);
      expect(await driver.list()).toMatchObject([{ power: 'running' }]);
      takeOff(b, spec.id);
      for (const ask of [() => driver.inspect(spec.id), () => driver.destroy(spec.id)])
        await expect(ask()).rejects.toMatchObject({ code: 'unavailable' });
      later(MOVES_WITHIN);
      await expect(driver.inspect(spec.id)).rejects.toMatchObject({ code: 'serverNotOnHost' });
      expect(await actionFor(driver, spec)).toMatchObject({ kind: 'reportMissing' });
      await driver.destroy(spec.id);
      expect(existsSync(a.host.local(`${ROOT}\\guests\\${spec.id}`))).toBe(false);
    });

    it('is not missing at the first look after it had come back where it was', async () => {
      const { a, driver, spec } = await spawned();
      const vm = takeOff(a, spec.id);
      await expect(driver.inspect(spec.id)).rejects.toMatchObject({ code: 'unavailable' });
      register(a, vm);
      expect(await driver.inspect(spec.id)).toMatchObject({ power: 'running' });
      takeOff(a, spec.id);
      later(MOVES_WITHIN);
      await expect(driver.inspect(spec.id)).rejects.toMatchObject({ code: 'unavailable' });
    });

    it('is not missing while a member does not answer, nor as soon as it does again', async () => {
      const { a, b, driver, spec } = await spawned();
      takeOff(a, spec.id);
      expect(await actionFor(driver, spec)).toBeNull();
      b.die();
      later(MOVES_WITHIN);
      expect(await actionFor(driver, spec)).toBeNull();
      b.comeBack();
      const reason = () => driver.inspect(spec.id).then(String, ({ code, message }) => `${code}: ${message}`);
      await expect.poll(() => later(20) && reason()).toMatch(/^unavailable: .* on its way$/);
    });
  });
});

describe.each(['refuses', 'hangs'] as const)('a member that is dead and %s', (how) => {
  it('leaves the others to be managed, and its guests unknown until the cluster has started them elsewhere', async () => {
    const [a, b] = await cluster();
    const driver = driverOver([a, b]);
    const spec = guest();
    await driver.spawn(spec, never);
    expect(machineOf(a.host, spec.id)).toBeDefined();
    a.die(how);

    await driver.check();
    expect(await driver.probe(AbortSignal.timeout(5_000))).toMatchObject({
      health: 'healthy',
      reason: expect.stringContaining('another member of the cluster is left out'),
    });
    expect(await driver.inventory()).toMatchObject({ memoryMib: 30 * 1024, diskGib: 1000 });
    await expect(driver.inspect(spec.id)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(driver.destroy(spec.id)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(driver.spawn(spec, never)).rejects.toMatchObject({ code: 'unavailable' });
    expect(await driver.list()).toMatchObject([{ mark: spec.mark, stage: 'settled', power: 'noState' }]);
    expect(await actionFor(driver, spec)).toBeNull();
    const other = guest();
    await expect(driver.inspect(other.id)).rejects.toMatchObject({ code: 'serverNotOnHost' });
    await driver.spawn(other, never);
    expect(machineOf(b.host, other.id)).toBeDefined();

    moveTo(a, b, spec.id);
    expect(await driver.inspect(spec.id)).toMatchObject({ mark: spec.mark, power: 'running' });
    await driver.powerOff(spec.id, ms(0));
    await driver.powerOn(spec.id, []);
    expect((await driver.list()).map(({ power }) => power)).toEqual(['running', 'running']);
    await driver.destroy(spec.id);
    expect(await driver.list()).toHaveLength(1);
  });

  it('is survived by an agent that is restarted meanwhile', async () => {
    const [a, b] = await cluster();
    const spec = guest();
    const before = driverOver([a, b]);
    await before.spawn(spec, never);
    a.die(how);

    const driver = await restarted([a, b]);
    expect(await driver.probe(AbortSignal.timeout(5_000))).toMatchObject({ health: 'healthy' });
    expect(await driver.list()).toMatchObject([{ mark: spec.mark, stage: 'settled', power: 'noState' }]);
    expect(await actionFor(driver, spec)).toBeNull();
    await expect(driver.inspect(spec.id)).rejects.toMatchObject({ code: 'unavailable' });
    await driver.spawn(guest(), never);

    a.comeBack();
    await expect.poll(async () => (await driver.list()).map(({ power }) => power)).toEqual(['running', 'running']);
    expect(await driver.inspect(spec.id)).toMatchObject({ mark: spec.mark, power: 'running' });
    expect(await driver.inventory()).toMatchObject({ memoryMib: 92 * 1024, diskGib: 1000 });
  });
});

it('keeps a dead member from being taken for the end of guests that were adopted', async () => {
  const [a, b] = await cluster();
  const driver = driverOver([a, b]);
  const { id, mark } = guest();
  await driver.adoption.adopt(foreign(a).Id, mark, []);
  a.die();
  const again = await restarted([a, b]);
  expect(await again.list()).toMatchObject([{ mark, power: 'noState' }]);
  a.comeBack();
  await expect.poll(() => again.adoption.release(id).then(() => 'done', String)).toBe('done');
  a.die();
  expect(await again.list()).toEqual([]);
});

it('goes on with the guest that runs when a member comes back with an old machine of it', async () => {
  const [a, b] = await cluster();
  const driver = driverOver([a, b]);
  const spec = guest();
  await driver.spawn(spec, never);
  a.die();
  await driver.list();
  const old = { ...structuredClone(machineOf(a.host, spec.id)), State: 'Off' };
  moveTo(a, b, spec.id);
  a.host.vms.set(old.Id, old);
  a.comeBack();
  const again = await restarted([a, b]);
  expect(await again.list()).toMatchObject([{ mark: spec.mark, power: 'running' }]);
  expect(await again.inspect(spec.id)).toMatchObject({ power: 'running' });
});

it('clears a spawn away that failed while a member is dead', async () => {
  const [a, b] = await cluster();
  const driver = driverOver([a, b]);
  await driver.list();
  a.die();
  const spec = guest();
  const { root } = spec.disks;
  const digest = async () => ({ ...(await root.source.digest()), sha256: '0'.repeat(64) });
  const wrong = { ...spec, disks: { ...spec.disks, root: { ...root, source: { ...root.source, digest } } } };
  await expect(driver.spawn(wrong, never)).rejects.toMatchObject({ code: 'fault' });
  await expect(driver.inspect(spec.id)).rejects.toMatchObject({ code: 'serverNotOnHost' });
  await driver.spawn(spec, never);
  expect(await driver.inspect(spec.id)).toMatchObject({ power: 'running' });
});

it('calls no guest missing while a member does not answer whose folder no other has', async () => {
  const [a, b] = [await member('A', 64), await member('B', 32)];
  const driver = driverOver([a, b]);
  await driver.list();
  b.die();
  await expect(driver.inspect(ServerId.parse(randomUUID()))).rejects.toMatchObject({ code: 'unavailable' });
  await expect(driver.list()).rejects.toMatchObject({ code: 'unavailable' });
  await driver.check();
});

it('is unavailable when no member answers', async () => {
  const [a, b] = await cluster();
  const driver = driverOver([a, b]);
  await driver.list();
  for (const one of [a, b]) one.die();
  for (const asked of [() => driver.check(), () => driver.list(), () => driver.inventory()])
    await expect(asked()).rejects.toMatchObject({ code: 'unavailable' });
  expect(await driver.probe(AbortSignal.timeout(5_000))).toMatchObject({ health: 'unhealthy' });
  b.comeBack();
  await driver.check();
});
