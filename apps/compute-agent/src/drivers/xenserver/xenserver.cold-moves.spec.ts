import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gib, mib, ms, type ServerId } from '@omnivisor/contracts';
import { afterAll, describe, expect, it } from 'vitest';
import { fileSource, rootFrom } from '../common/test-guest.js';
import { twice } from '../conformance/perform.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import { STATE_KEY } from './operations/guest-state.js';
import { cutCalls } from './testing/cut-calls.js';
import { never, Pools } from './testing/pools.js';
import { letterAt, recordInside } from './testing/record-inside.js';
import type { XenServerDriver } from './xenserver.driver.js';

const pools = new Pools();
const copied = { disks: 'copied', attached: [] } as const;
const patient = { timeout: 10_000 };
const folder = mkdtempSync(join(tmpdir(), 'ov-cold-'));
afterAll(() => rmSync(folder, { recursive: true }));

const inside = () => recordInside(pools.first);
/** The letter on the root disk of each of a server's guests, the older first, and whether it runs. */
const guests = (id: ServerId, on = pools.first) =>
  on.vmsOf(id).map(({ state, power }) => {
    const root = state.disks.find(({ role }) => role === 'root');
    return [state.attempt, power, root ? letterAt(on.double.xapi.disks.path(root.vdi)) : 'none'];
  });
/** UUIDs of its disks by the VM that they were made for. */
const disksBy = (id: ServerId, attempt: number) => {
  const vm = pools.first.vmsOf(id).find(({ state }) => state.attempt === attempt);
  return pools.first.disksOf(id).filter((disk) => disk.vm === vm?.uuid);
};

/** As the source does it: off, and its disk sent. @returns what the target is asked to make of it */
const sent = async (from: XenServerDriver, spec: GuestSpec, on = pools.first): Promise<GuestSpec> => {
  const { serverId: id } = spec.mark;
  const attempt = spec.mark.attempt + 1;
  await from.powerOff(id, ms(0));
  const file = join(folder, `${id}-${attempt}.raw`);
  const { stream } = await from.snapshots.exportDisk(id, 'root', 'raw', never);
  await pipeline(stream, createWriteStream(file));
  const snapshots = () => on.disksOf(id).filter(({ ref }) => on.double.db.get('VDI', ref).is_a_snapshot);
  await expect.poll(snapshots, patient).toEqual([]);
  return { ...spec, mark: { ...spec.mark, attempt }, disks: rootFrom(fileSource(file), spec.disks.root.size) };
};

const configDrive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);

/** Runs on `from` with the letter D, and then, as attempt 2, on `to`, with what `from` has of it kept. */
const moved = async (from: XenServerDriver, to: XenServerDriver) => {
  const spec = await pools.running(from, { configDrive });
  await inside().disk.write(spec.id, 0, 'D');
  const there = await sent(from, spec);
  await to.spawn(there, never);
  return { id: spec.id, spec, there };
};

const localOf = (member: number) => {
  const { db } = pools.first.double;
  const found = db.all('SR').find(([ref, { name_label: name }]) => {
    const hosts = db.childrenOf('PBD', 'SR', ref).map((pbd: string) => db.get('PBD', pbd).host);
    return name === 'Local storage' && hosts.includes(pools.first.double.host(member));
  });
  return found![1].uuid as string;
};

describe.each(['shared', 'local'])('a server that moves cold inside a pool, on %s storage', (storage) => {
  const drive = (member: 0 | 1) =>
    pools.drive({
      member: ['xs1', 'xs2'][member]!,
      repository: storage === 'local' ? localOf(member) : null,
    });

  it('has two guests side by side, each with its own disks, and each host shows its own', async () => {
    const [source, target] = [drive(0), drive(1)];
    const { id, spec, there } = await moved(source, target);
    expect(await inside().disk.read(id, 0)).toBe('D');
    await inside().disk.write(id, 0, 'E');
    expect(guests(id)).toEqual([
      [1, 'Halted', 'D'],
      [2, 'Running', 'E'],
    ]);
    for (const [driver, mark, power] of [
      [source, spec.mark, 'shutdown'],
      [target, there.mark, 'running'],
    ] as const) {
      expect(await driver.inspect(id)).toMatchObject({ stage: 'settled', power, mark });
      expect((await driver.list()).filter((guest) => guest.mark.serverId === id)).toMatchObject([{ mark }]);
      expect((await driver.adoption.candidates()).map(({ name }) => name)).not.toContain(spec.name);
    }
    expect([disksBy(id, 1).length, disksBy(id, 2).length]).toEqual([2, 2]);
    for (let i = 0; i < 2; i++) await target.spawn(there, never);
    expect(pools.first.vmsOf(id)).toHaveLength(2);
    for (const driver of [source, target]) await driver.destroy(id);
    expect([await pools.first.leftovers(id, 0), await pools.first.leftovers(id, 1)]).toEqual([[], []]);
  });

  it('loses only what it left, when the move is confirmed', async () => {
    const [source, target] = [drive(0), drive(1)];
    const { id, there } = await moved(source, target);
    await inside().disk.write(id, 0, 'E');
    for (let i = 0; i < 2; i++) await source.destroy(id, 1);
    expect(await pools.first.leftovers(id, 0)).toEqual([]);
    await target.reboot(id, 'hard', there.nics);
    expect(guests(id)).toEqual([[2, 'Running', 'E']]);
    expect(disksBy(id, 2)).toHaveLength(2);
    await target.destroy(id, 2);
    expect(pools.first.disksOf(id)).toEqual([]);
  });

  it('is what it was, when the move is reverted', async () => {
    const [source, target] = [drive(0), drive(1)];
    const { id, spec } = await moved(source, target);
    await inside().disk.write(id, 0, 'E');
    for (let i = 0; i < 2; i++) await target.destroy(id, 2);
    expect(await pools.first.leftovers(id, 1)).toEqual([]);
    await source.powerOn(id, spec.nics);
    expect(guests(id)).toEqual([[1, 'Running', 'D']]);
    expect(disksBy(id, 1)).toHaveLength(2);
    await source.destroy(id, 1);
  });

  it('moves on, back, and while it runs, with the newest of its disk', async () => {
    const [one, two] = [drive(0), drive(1)];
    const { id, there } = await moved(one, two);
    await one.destroy(id, 1);
    await inside().disk.write(id, 0, 'E');

    const live = { ...there, mark: { ...there.mark, attempt: 3 } };
    const ticket = await one.liveMigration.receive(live, await two.liveMigration.offer(id), copied, never);
    await two.liveMigration.send(id, ticket, { signal: never });
    await one.liveMigration.accept(id);
    await two.destroy(id, 2);
    await inside().disk.write(id, 0, 'F');

    const cold = await sent(one, live);
    await two.spawn(cold, never);
    expect(guests(id)).toEqual([
      [3, 'Halted', 'F'],
      [4, 'Running', 'F'],
    ]);
    await inside().disk.write(id, 0, 'G');
    await two.destroy(id, 4);
    await one.powerOn(id, live.nics);
    expect(guests(id)).toEqual([[3, 'Running', 'F']]);
    expect(disksBy(id, 3).map(({ name }) => name)).toHaveLength(2);
    await one.destroy(id, 3);
    expect(pools.first.disksOf(id)).toEqual([]);
  });
});

describe('two guests of a server in a pool', () => {
  const drive = (member = 'xs1') => pools.drive({ member });

  it('are switched and changed each by its own host, and the other stays as it is', async () => {
    const [source, target] = [drive(), drive('xs2')];
    const { id, there } = await moved(source, target);
    const kept = disksBy(id, 1);
    const isKept = () => {
      expect(guests(id)[0]).toEqual([1, 'Halted', 'D']);
      expect(disksBy(id, 1)).toEqual(kept);
    };
    await target.pausing.pause(id);
    await target.pausing.unpause(id);
    await target.suspending.suspend(id);
    await target.suspending.resume(id, there.nics);
    await target.reboot(id, 'hard', there.nics);
    await target.nics.attach(id, pools.first.nic());
    isKept();
    await target.rebuilding.rebuild({ ...there, mark: { ...there.mark, build: 1 } }, never);
    isKept();
    await target.rescuing.rescue(there, never);
    await target.rescuing.unrescue(id, there.nics);
    isKept();
    await target.powerOff(id, ms(0));
    const larger = { ...twice(there.flavor), disk: gib(1) };
    await target.resizing.resize(id, larger, never);
    await target.resizing.revertResize(id);
    await target.resizing.resize(id, larger, never);
    await target.resizing.confirmResize(id);
    isKept();
    const disk = await target.snapshots.exportDisk(id, 'root', 'raw', never);
    disk.stream.destroy();
    await target.powerOn(id, there.nics);
    isKept();
    expect(guests(id)[1]).toEqual([2, 'Running', 'D']);
    await target.destroy(id, 2);
    isKept();
    expect(pools.first.disksOf(id)).toEqual(kept);
    await source.destroy(id, 1);
  });

  it('are never both started: beside one that runs, or is not older, none is made', async () => {
    const [source, target] = [drive(), drive('xs2')];
    const spec = await pools.running(source);
    const there = await sent(source, spec);
    await expect(target.spawn({ ...there, mark: spec.mark }, never)).rejects.toMatchObject({ code: 'fault' });
    await source.powerOn(spec.id, spec.nics);
    await expect(target.spawn(there, never)).rejects.toMatchObject({ code: 'fault' });
    expect(pools.first.vmsOf(spec.id)).toMatchObject([{ power: 'Running', state: { attempt: 1 } }]);
    expect(pools.first.disksOf(spec.id)).toHaveLength(1);
    await source.destroy(spec.id, 1);
  });

  it('lose nothing of one when the making of the other fails, or is given up', async () => {
    const [source, target] = [drive(), drive('xs2')];
    const spec = await pools.running(source);
    await inside().disk.write(spec.id, 0, 'D');
    const there = await sent(source, spec);
    const full = { method: 'VM.start_on', error: ['HOST_NOT_ENOUGH_FREE_MEMORY', '1', '0'] as [string, ...string[]] };
    pools.first.double.faults.add({ ...full, times: 1 });
    await expect(target.spawn(there, never)).rejects.toMatchObject({ code: 'noResources' });
    const big = { ...there, flavor: { ...there.flavor, memory: mib(1 << 30) } };
    await expect(target.spawn(big, never)).rejects.toMatchObject({ code: 'noResources' });
    const abort = new AbortController();
    pools.first.double.faults.add({ method: 'VBD.create', delay: 500, times: 1 });
    const given = target.spawn(there, abort.signal);
    await expect.poll(() => pools.first.vmsOf(spec.id).length, patient).toBe(2);
    abort.abort();
    await expect(given).rejects.toMatchObject({ code: 'fault' });
    expect(await pools.first.leftovers(spec.id, 1)).toEqual([]);
    await source.powerOn(spec.id, spec.nics);
    expect(guests(spec.id)).toEqual([[1, 'Running', 'D']]);
    await source.destroy(spec.id);
  });

  it('take nothing of each other that no VM has yet, or any more', async () => {
    const [source, target, third] = [drive(), drive('xs2'), drive()];
    const spec = await pools.running(source);
    await inside().disk.write(spec.id, 0, 'D');
    const there = await sent(source, spec);
    pools.first.double.faults.add({ method: 'PUT /import_raw_vdi', delay: 500, times: 1 });
    const making = target.spawn(there, never);
    await expect.poll(() => disksBy(spec.id, 2).length, patient).toBe(1);
    await source.destroy(spec.id, 1);
    await third.destroy(spec.id, 1);
    await third.destroy(spec.id);
    await making;
    expect(guests(spec.id)).toEqual([[2, 'Running', 'D']]);

    const back = await sent(target, there);
    await target.resizing.resize(spec.id, twice(spec.flavor), never);
    await source.spawn(back, never);
    await source.rebuilding.rebuild({ ...back, mark: { ...back.mark, build: 1 } }, never);
    await source.destroy(spec.id, 3);
    await target.resizing.revertResize(spec.id);
    await target.powerOn(spec.id, spec.nics);
    expect(guests(spec.id)).toEqual([[2, 'Running', 'D']]);
    await target.destroy(spec.id, 2);
    expect(pools.first.disksOf(spec.id)).toEqual([]);
  });

  it('come back where their member was away meanwhile', async () => {
    const [source, target] = [drive(), drive('xs2')];
    const { id, spec } = await moved(source, target);
    const { db } = pools.first.double;
    const { metrics } = db.get('host', pools.first.double.host(0));
    db.set('host_metrics', metrics, { live: false });
    await target.destroy(id, 2);
    await expect(source.powerOn(id, spec.nics)).rejects.toMatchObject({ code: 'unavailable' });
    db.set('host_metrics', metrics, { live: true });
    await source.powerOn(id, spec.nics);
    expect(guests(id)).toEqual([[1, 'Running', 'D']]);
    await source.destroy(id, 1);
  });

  it('are told apart when one of them goes on while it runs, although what it left is not gone yet', async () => {
    const three = await pools.start({ addresses: ['127.0.0.1', '127.0.0.2', '127.0.0.3'] });
    const [first, second, third] = ['xs1', 'xs2', 'xs3'].map((member) => pools.drive({ member }, three));
    const spec = await pools.running(first!, {}, three);
    await recordInside(three).disk.write(spec.id, 0, 'D');
    const there = await sent(first!, spec, three);
    await second!.spawn(there, never);
    await recordInside(three).disk.write(spec.id, 0, 'E');
    const live = { ...there, mark: { ...there.mark, attempt: 3 } };
    const offer = await second!.liveMigration.offer(spec.id);
    await expect(first!.liveMigration.receive(live, offer, copied, never)).rejects.toMatchObject({ code: 'fault' });
    const ticket = await third!.liveMigration.receive(live, offer, copied, never);
    await second!.liveMigration.send(spec.id, ticket, { signal: never });
    await third!.liveMigration.accept(spec.id);
    for (const [driver, attempt] of [
      [second!, 2],
      [first!, 1],
    ] as const)
      await driver.destroy(spec.id, attempt);
    expect(guests(spec.id, three)).toEqual([[3, 'Running', 'E']]);
    expect(await third!.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running', mark: live.mark });
    await third!.destroy(spec.id, 3);
    expect(three.disksOf(spec.id)).toEqual([]);
  });

  it.each(['accepted', 'removed', 'given up'])(
    'stay apart when the server comes back from another pool and is %s',
    async (how) => {
      const other = await pools.start();
      const [first, second] = [drive(), drive('xs2')];
      const elsewhere = pools.drive({}, other);
      const spec = await pools.running(first);
      await inside().disk.write(spec.id, 0, 'D');
      const there = await sent(first, spec);
      await elsewhere.spawn(there, never);
      await recordInside(other).disk.write(spec.id, 0, 'E');
      const back = { ...there, mark: { ...there.mark, attempt: 3 } };
      const ticket = await second.liveMigration.receive(
        back,
        await elsewhere.liveMigration.offer(spec.id),
        copied,
        never,
      );
      if (how !== 'given up') await elsewhere.liveMigration.send(spec.id, ticket, { signal: never });
      if (how !== 'accepted') {
        await second.destroy(spec.id, 3);
        expect(guests(spec.id)).toEqual([[1, 'Halted', 'D']]);
        await first.powerOn(spec.id, spec.nics);
        expect(await inside().disk.read(spec.id, 0)).toBe('D');
      } else {
        await second.liveMigration.accept(spec.id);
        expect(guests(spec.id)).toEqual([
          [1, 'Halted', 'D'],
          [3, 'Running', 'E'],
        ]);
      }
      await first.destroy(spec.id, 1);
      expect(guests(spec.id)).toEqual(how === 'accepted' ? [[3, 'Running', 'E']] : []);
      await second.destroy(spec.id, 3);
      expect(pools.first.disksOf(spec.id)).toEqual([]);
      await elsewhere.destroy(spec.id);
    },
  );

  it('are one to an agent of the whole pool: the newer, and no other goes with it', async () => {
    const [source, target, whole] = [drive(), drive('xs2'), pools.drive({ member: null })];
    const { id, spec, there } = await moved(source, target);
    const shown = async () => (await whole.list()).filter(({ mark }) => mark.serverId === id).map(({ mark }) => mark);
    expect(await shown()).toEqual([there.mark]);
    expect(await whole.inspect(id)).toMatchObject({ mark: there.mark, power: 'running' });
    await expect(whole.spawn({ ...there, mark: { ...there.mark, attempt: 3 } }, never)).rejects.toMatchObject({
      code: 'fault',
    });
    // The second time as after a crash: only the older one is left, and it is not what is to go.
    for (let i = 0; i < 2; i++) await whole.destroy(id, 2);
    expect(await shown()).toEqual([spec.mark]);
    expect(guests(id)).toEqual([[1, 'Halted', 'D']]);
    expect(disksBy(id, 1)).toHaveLength(2);
    await whole.powerOn(id, spec.nics);
    expect(guests(id)).toEqual([[1, 'Running', 'D']]);
    await whole.destroy(id, 1);
    expect(pools.first.disksOf(id)).toEqual([]);
  });

  it('keep their disks apart also where an older release did not write whose they are', async () => {
    const [source, target] = [drive(), drive('xs2')];
    const { id } = await moved(source, target);
    const { db } = pools.first.double;
    for (const { ref } of pools.first.disksOf(id)) {
      const { other_config: config } = db.get('VDI', ref);
      const { vm: _, ...older } = JSON.parse(config[STATE_KEY]);
      db.set('VDI', ref, { other_config: { ...config, [STATE_KEY]: JSON.stringify(older) } });
    }
    await source.destroy(id, 1);
    expect(guests(id)).toEqual([[2, 'Running', 'D']]);
    expect(pools.first.disksOf(id)).toHaveLength(2);
    await target.destroy(id, 2);
    expect(pools.first.disksOf(id)).toEqual([]);
  });

  it('leave alone what an administrator has given to another VM', async () => {
    const [source, target] = [drive(), drive('xs2')];
    const { id } = await moved(source, target);
    const rescued = disksBy(id, 1).find(({ name }) => name.endsWith('root'))!;
    const vm = await pools.first.pool.vm({ name_label: 'theirs' });
    await pools.first.pool.vbd(vm, rescued.ref, { bootable: false });
    await source.destroy(id, 1);
    await target.destroy(id, 2);
    expect(pools.first.disksOf(id)).toEqual([rescued]);
    await pools.first.pool.call('VM.destroy', vm);
    await source.destroy(id, 1);
    expect(pools.first.disksOf(id)).toEqual([]);
  });

  describe('whose agent ends', () => {
    /** Does it with an agent that ends before its nth change, for every n until it gets to its end. */
    const crashing = async (
      member: string,
      act: (driver: XenServerDriver) => Promise<unknown>,
      after: (n: number) => Promise<void>,
      before: () => Promise<void> = async () => undefined,
    ): Promise<number> => {
      for (let n = 0; n < 60; n++) {
        await before();
        const driver = pools.first.open({ member });
        await driver.check();
        const cut = cutCalls(pools.first, n);
        const done = await act(driver).then(
          () => true,
          () => false,
        );
        cut.mend();
        await driver.close();
        await after(n);
        if (done && !cut.happened()) return n;
      }
      throw new Error('it never got to its end');
    };

    it('in the middle of making one leave the other, and nothing that is not found', async () => {
      const [source, target] = [drive(), drive('xs2')];
      const spec = await pools.running(source, { configDrive });
      await inside().disk.write(spec.id, 0, 'D');
      const there = await sent(source, spec);
      const changes = await crashing(
        'xs2',
        (driver) => driver.spawn(there, never),
        async (n) => {
          if (n % 2 === 0) {
            await target.spawn(there, never);
            expect(guests(spec.id)).toEqual([
              [1, 'Halted', 'D'],
              [2, 'Running', 'D'],
            ]);
            expect(disksBy(spec.id, 2)).toHaveLength(2);
          }
          await target.destroy(spec.id, 2);
          expect(await pools.first.leftovers(spec.id, 1)).toEqual([]);
          expect(guests(spec.id)).toEqual([[1, 'Halted', 'D']]);
          expect(disksBy(spec.id, 1)).toHaveLength(2);
          expect(pools.first.disksOf(spec.id)).toHaveLength(2);
        },
      );
      expect(changes).toBeGreaterThan(8);
      await source.destroy(spec.id, 1);
    });

    it.each([
      ['confirmed', 'xs1', 1],
      ['reverted', 'xs2', 2],
    ] as const)('while the move is %s lose what is to go, and nothing else', async (_, member, gone) => {
      const [source, target] = [drive(), drive('xs2')];
      let id: ServerId;
      const changes = await crashing(
        member,
        (driver) => driver.destroy(id, gone),
        async () => {
          const [stays, goes] = gone === 1 ? [target, source] : [source, target];
          await goes.destroy(id, gone);
          expect(guests(id)).toEqual([gone === 1 ? [2, 'Running', 'D'] : [1, 'Halted', 'D']]);
          expect(pools.first.disksOf(id)).toEqual(disksBy(id, 3 - gone));
          await stays.destroy(id, 3 - gone);
          expect(pools.first.disksOf(id)).toEqual([]);
        },
        async () => {
          ({ id } = await moved(source, target));
        },
      );
      expect(changes).toBeGreaterThan(2);
    });
  });
});
