import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ms, type ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileSource, rootFrom } from '../common/test-guest.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import { fileOf, isDisk, type VmRecord } from './operations/records.js';
import { noSimulator } from './testing/simulator.js';
import { never, newId, VcenterUnderTest } from './testing/vcenter-under-test.js';
import { Vcenters } from './testing/vcenters.js';
import type { VsphereDriver } from './vsphere.driver.js';

const MIB = 2 ** 20;

describe.skipIf(noSimulator)(
  `attempts of one server in one vCenter${noSimulator === null ? '' : `: ${noSimulator}`}`,
  () => {
    const vcenters = new Vcenters();
    const drive = (...args: Parameters<VcenterUnderTest['open']>) => vcenters.drive(...args);
    const other = () => drive({ member: 'DC0_C0_H1' });
    let vcenter: VcenterUnderTest;
    beforeAll(() => {
      vcenter = vcenters.first;
    });

    /** Its root disk, as the datastore has it. */
    const content = async (vm: VmRecord): Promise<string> => {
      const disk = (await vcenter.devices(vm.ref)).find(isDisk);
      if (!disk) return 'none';
      return readFileSync(vcenter.file(fileOf(disk)!).replace(/\.vmdk$/, '-flat.vmdk')).toString('latin1', 0, 6);
    };
    const contents = async (id: ServerId) =>
      Object.fromEntries(
        await Promise.all((await vcenter.vmsOf(id)).map(async (vm) => [vm.attempt, await content(vm)] as const)),
      );
    /** What a move brings: the disk of one server. */
    const brought = (letters: string) => {
      const path = join(vcenter.folder, `moved-${letters}.raw`);
      writeFileSync(path, Buffer.concat([Buffer.from(letters)], MIB));
      return rootFrom({ ...fileSource(path), isPrivate: true });
    };
    const next = (spec: GuestSpec, letters: string, attempt = spec.mark.attempt + 1): GuestSpec => ({
      ...spec,
      mark: { ...spec.mark, attempt },
      disks: brought(letters),
    });
    const holders = async (id: ServerId) => (await vcenter.vms()).filter(({ holder }) => holder?.includes(id));

    /** Attempt 1 on the first member, off as a move has left it, and attempt 2 on the second. */
    const moved = async () => {
      const [source, target] = [drive(), other()];
      const spec = await vcenter.running(source, { disks: rootFrom(vcenter.smallImage('first-')) });
      await source.powerOff(spec.id, ms(0));
      const second = next(spec, 'second');
      await target.spawn(second, never);
      return { source, target, spec, second, id: spec.id };
    };

    it('are apart: in name, files and marks, and alike in what their guests see of themselves', async () => {
      const { source, target, spec, second, id } = await moved();
      const [one, two] = (await vcenter.vmsOf(id)) as unknown as [VmRecord, VmRecord];
      expect(one.name).toMatch(new RegExp(`\\(${id}\\)$`));
      expect(two.name).toBe(`${one.name} 2`);
      expect(two.name.length).toBeLessThanOrEqual(80);
      expect(one.file.split('/')[0]).not.toBe(two.file.split('/')[0]);
      expect(one.instanceUuid).not.toBe(two.instanceUuid);
      const uuids = await Promise.all([one, two].map(({ ref }) => vcenter.read.one(ref, 'config.uuid')));
      const [a, b, c, ...rest] = id.split('-').map((part) => Buffer.from(part, 'hex'));
      const swapped = [a, b, c].map((part) => part!.reverse()).concat(rest);
      expect(uuids).toEqual([1, 2].map(() => swapped.map((part) => part.toString('hex')).join('-')));
      expect(await contents(id)).toEqual({ 1: 'first-', 2: 'second' });
      expect(await source.inspect(id)).toMatchObject({ mark: spec.mark, power: 'shutdown', stage: 'settled' });
      expect(await target.inspect(id)).toMatchObject({ mark: second.mark, power: 'running', stage: 'settled' });
      for (const driver of [source, target]) {
        expect((await driver.list()).filter(({ mark }) => mark.serverId === id)).toHaveLength(1);
        await driver.destroy(id);
      }
      expect(await vcenter.vmsOf(id)).toEqual([]);
    });

    it('go on and off by themselves', async () => {
      const { source, target, spec, second, id } = await moved();
      const power = async () => (await vcenter.vmsOf(id)).map((vm) => vm.power);
      expect(await power()).toEqual(['shutdown', 'running']);
      await target.powerOff(id, ms(0));
      await source.powerOn(id, spec.nics);
      expect(await power()).toEqual(['running', 'shutdown']);
      await source.powerOff(id, ms(0));
      await target.reboot(id, 'hard', second.nics);
      expect(await power()).toEqual(['shutdown', 'running']);
      await Promise.all([source.destroy(id), target.destroy(id)]);
    });

    it('go one without the other, with their own disks, when a move is confirmed', async () => {
      const { source, target, second, id } = await moved();
      await source.destroy(id);
      await source.destroy(id);
      expect(await contents(id)).toEqual({ 2: 'second' });
      expect(await target.inspect(id)).toMatchObject({ power: 'running' });
      await target.powerOff(id, ms(0));
      const third = next(second, 'third-');
      await source.spawn(third, never);
      await target.destroy(id);
      expect(await contents(id)).toEqual({ 3: 'third-' });
      expect(await source.inspect(id)).toMatchObject({ mark: { attempt: 3 }, power: 'running' });
      await source.destroy(id);
      expect(await vcenter.leftovers(id, 0)).toEqual([]);
    });

    it('are refused while an older one runs', async () => {
      const source = drive();
      const { id, ...spec } = await vcenter.running(source);
      await expect(other().spawn(next(spec, 'second'), never)).rejects.toMatchObject({
        message: expect.stringContaining('runs on another host'),
      });
      expect(await vcenter.vmsOf(id)).toMatchObject([{ attempt: 1, power: 'running' }]);
      await source.destroy(id);
    });

    it('go one without the other when a move is reverted, and tried again', async () => {
      const { source, target, spec, id } = await moved();
      await target.destroy(id);
      await source.powerOn(id, spec.nics);
      expect(await contents(id)).toEqual({ 1: 'first-' });
      expect(await source.inspect(id)).toMatchObject({ mark: spec.mark, power: 'running' });
      await source.powerOff(id, ms(0));
      await target.spawn(next(spec, 'again-', 3), never);
      expect(await contents(id)).toEqual({ 1: 'first-', 3: 'again-' });
      await target.destroy(id);
      await source.destroy(id);
      expect(await vcenter.vmsOf(id)).toEqual([]);
    });

    it('are refused on a host that has another one, and after a newer one, whoever has it', async () => {
      const { source, target, spec, second, id } = await moved();
      for (const [driver, attempt, words] of [
        [source, 3, 'runs on another host'],
        [target, 3, 'on this host'],
        [source, 2, 'on another host'],
        [target, 1, 'on another host'],
      ] as const)
        await expect(driver.spawn(next(spec, 'third-', attempt), never)).rejects.toMatchObject({
          code: 'fault',
          message: expect.stringContaining(words),
        });
      await source.destroy(id);
      for (const attempt of [1, 2])
        await expect(source.spawn(next(spec, 'third-', attempt), never)).rejects.toMatchObject({
          message: expect.stringContaining('newer attempt'),
        });
      await target.spawn(second, never);
      expect(await contents(id)).toEqual({ 2: 'second' });
      expect(await holders(id)).toEqual([]);
      await target.destroy(id);
    });

    it.each([false, true])(
      'stay as they are when the agent of the target ends between any two steps (the last one done: %s)',
      async (isDone) => {
        const source = drive();
        const spec = await vcenter.running(source, { disks: rootFrom(vcenter.smallImage('first-')) });
        await source.powerOff(spec.id, ms(0));
        const cuts: boolean[] = [];
        for (let step = 0; ; step++) {
          const target = other();
          await target.check();
          const second = next(spec, 'second', step + 2);
          vcenter.gateway.cutAfter(step, isDone);
          const ended = await target.spawn(second, never).then(
            () => 'spawned',
            ({ code }) => code,
          );
          const wasCut = vcenter.gateway.reopen();
          await target.close();
          if (!wasCut) {
            expect(ended).toBe('spawned');
            await other().destroy(spec.id);
            break;
          }
          cuts.push(wasCut);
          expect([step, ended]).toEqual([step, 'unavailable']);
          expect((await contents(spec.id))[1]).toBe('first-');
          expect(await source.inspect(spec.id)).toMatchObject({ mark: spec.mark, power: 'shutdown' });
          const heir = other();
          // Either it is made by the next agent, or nobody wants it any more.
          if (step % 2 === 0) {
            await heir.spawn(second, never);
            expect(await contents(spec.id)).toEqual({ 1: 'first-', [step + 2]: 'second' });
            expect(await heir.inspect(spec.id)).toMatchObject({ mark: second.mark, power: 'running' });
          }
          await heir.destroy(spec.id);
          await heir.close();
          expect([step, await contents(spec.id), await holders(spec.id)]).toEqual([step, { 1: 'first-' }, []]);
          expect(await vcenter.leftovers(spec.id, 1)).toEqual([]);
          expect(readdirSync(vcenter.datastore).filter((name) => name.includes(spec.id))).toHaveLength(1);
        }
        expect(cuts.length).toBeGreaterThan(6);
        await source.powerOn(spec.id, spec.nics);
        await source.destroy(spec.id);
      },
      30_000,
    );

    it('leave no copy of the disk that was brought, also when it could not be used', async () => {
      const target = other();
      const spec = next(vcenter.guest(newId()), 'second');
      const { serverId: id } = spec.mark;
      for (const [method, fault] of [
        ['ExtendVirtualDisk_Task', 'NoDiskSpace'],
        ['CopyVirtualDisk_Task', 'NoDiskSpace'],
        ['CreateVM_Task', 'DuplicateName'],
      ] as const) {
        await vcenter.simulator.failNext(method, fault);
        const root = { ...spec.disks.root, size: 1 as never };
        await expect(target.spawn({ ...spec, disks: { ...spec.disks, root } }, never)).rejects.toThrow();
        expect([method, await holders(id), await vcenter.leftovers(id, 1)]).toEqual([method, [], []]);
      }
      await target.spawn(spec, never);
      expect(await holders(id)).toEqual([]);
      await target.destroy(id);
    });

    it('move live after they were kept, and cold after they moved live', async () => {
      const { source, target, spec, second, id } = await moved();
      const live = async (from: VsphereDriver, to: VsphereDriver, attempt: number) => {
        const shell = { ...spec, mark: { ...spec.mark, attempt } };
        const offer = await from.liveMigration.offer(id);
        const ticket = await to.liveMigration.receive(shell, offer, { disks: 'shared', attached: [] }, never);
        await from.liveMigration.send(id, ticket, { signal: never });
        await to.liveMigration.accept(id);
        await from.destroy(id);
      };
      // What is kept is in the way of what would come, and stays.
      await expect(live(target, source, 3)).rejects.toMatchObject({ message: expect.stringContaining('already') });
      expect(await contents(id)).toEqual({ 1: 'first-', 2: 'second' });
      await source.destroy(id);
      await live(target, source, 3);
      expect(await source.inspect(id)).toMatchObject({ mark: { attempt: 3 }, power: 'running' });
      await expect(target.inspect(id)).rejects.toMatchObject({ code: 'serverNotOnHost' });
      await source.powerOff(id, ms(0));
      await target.spawn(next(second, 'fourth', 4), never);
      expect(await contents(id)).toEqual({ 3: 'second', 4: 'fourth' });
      await target.destroy(id);
      await source.powerOn(id, spec.nics);
      await live(source, target, 5);
      expect(await contents(id)).toEqual({ 5: 'second' });
      await target.destroy(id);
      for (const member of [0, 1]) expect(await vcenter.leftovers(id, member)).toEqual([]);
    });

    it('of a whole cluster, that single members have left, are the newest one, and go one by one', async () => {
      const { source, target, id } = await moved();
      for (const driver of [source, target]) await driver.close();
      const whole = drive({ member: null });
      // Whatever it was asked for before.
      for (let i = 0; i < 2; i++) {
        expect(await whole.inspect(id)).toMatchObject({ mark: { attempt: 2 }, power: 'running' });
        expect((await whole.list()).filter(({ mark }) => mark.serverId === id)).toMatchObject([
          { mark: { attempt: 2 } },
        ]);
      }
      await expect(whole.spawn(next({ ...vcenter.guest(id) }, 'third-', 3), never)).rejects.toMatchObject({
        code: 'fault',
      });
      await whole.destroy(id, 3);
      expect(await contents(id)).toEqual({ 1: 'first-', 2: 'second' });
      for (let i = 0; i < 2; i++) await whole.destroy(id, 2);
      expect(await contents(id)).toEqual({ 1: 'first-' });
      expect(await whole.inspect(id)).toMatchObject({ mark: { attempt: 1 }, power: 'shutdown' });
      await whole.destroy(id);
      expect(await vcenter.vmsOf(id)).toEqual([]);
    });

    it('of a whole cluster become its own when it starts them', async () => {
      const spec = await vcenter.running(other());
      const whole = drive({ member: null });
      const place = async () => JSON.parse((await vcenter.vmsOf(spec.id))[0]!.state!).place as string;
      expect(await place()).toBe(vcenter.place.members[1]!.place);
      await whole.reboot(spec.id, 'hard', spec.nics);
      expect(await place()).toBe(vcenter.place.cluster.place);
      expect(await whole.inspect(spec.id)).toMatchObject({ mark: spec.mark, power: 'running' });
      await whole.destroy(spec.id);
    });

    it('are the newest one although an older one was seen before', async () => {
      const source = drive();
      const whole = drive({ member: null });
      const { id, ...spec } = await vcenter.running(source, { disks: rootFrom(vcenter.smallImage('first-')) });
      const told: ServerId[] = [];
      const listening = (async () => {
        for await (const { serverId } of whole.events(never)) told.push(serverId);
      })();
      expect(await whole.inspect(id)).toMatchObject({ mark: { attempt: 1 } });
      await expect.poll(() => told).toContain(id);
      await source.powerOff(id, ms(0));
      await other().spawn(next(spec, 'second'), never);
      await expect.poll(() => whole.inspect(id)).toMatchObject({ mark: { attempt: 2 }, power: 'running' });
      for (let i = 0; i < 2; i++) await whole.destroy(id);
      await whole.close();
      await listening;
    });

    it('are told of by each host, and only to the agent whose they are', async () => {
      const { source, target, spec, id } = await moved();
      const told = { source: 0, target: 0 };
      const listen = async (driver: VsphereDriver, who: keyof typeof told) => {
        for await (const { serverId } of driver.events(never)) if (serverId === id) told[who]++;
      };
      const listening = [listen(source, 'source'), listen(target, 'target')];
      await expect.poll(() => told.source > 0 && told.target > 0).toBe(true);
      const before = { ...told };
      await vcenter.updates.run((await vcenter.vmOf(id)).ref, 'PowerOffVM_Task');
      await expect.poll(() => told.target).toBeGreaterThan(before.target);
      expect(told.source).toBe(before.source);
      await vcenter.updates.run((await vcenter.vmsOf(id))[0]!.ref, 'PowerOnVM_Task');
      await expect.poll(() => told.source).toBeGreaterThan(before.source);
      await source.powerOff(id, ms(0));
      for (const driver of [source, target]) await driver.destroy(id);
      expect(spec.mark.attempt).toBe(1);
      for (const driver of [source, target]) await driver.close();
      await Promise.all(listening);
    });

    it('are no guest that another server could be adopted as', async () => {
      const { source, target, spec, id } = await moved();
      const foreign = await vcenter.foreign();
      const adopt = (mark: GuestSpec['mark']) => source.adoption.adopt(foreign.nativeId, mark, foreign.nics);
      for (const attempt of [1, 2, 3])
        await expect(adopt({ ...spec.mark, attempt })).rejects.toMatchObject({ code: 'fault' });
      const natives = (await vcenter.vmsOf(id)).map(({ instanceUuid }) => instanceUuid);
      for (const driver of [source, target])
        for (const { nativeId } of await driver.adoption.candidates()) expect(natives).not.toContain(nativeId);
      await foreign.remove();
      for (const driver of [source, target]) await driver.destroy(id);
    });

    it('come back although the host of the source was away meanwhile', async () => {
      const { source, target, spec, id } = await moved();
      const { name } = vcenter.place.members[0]!;
      await vcenter.simulator.connect(name, false);
      await expect(source.check()).rejects.toMatchObject({ code: 'unavailable' });
      await target.check();
      await target.destroy(id);
      expect(await contents(id)).toEqual({ 1: 'first-' });
      expect(await source.inspect(id)).toMatchObject({ mark: spec.mark, stage: 'settled', power: 'noState' });
      await vcenter.simulator.failNext('PowerOnVM_Task', 'HostNotConnected');
      await expect(source.powerOn(id, spec.nics)).rejects.toMatchObject({ code: 'unavailable' });
      await vcenter.simulator.connect(name, true);
      await source.check();
      await source.powerOn(id, spec.nics);
      expect(await source.inspect(id)).toMatchObject({ mark: spec.mark, power: 'running' });
      await source.destroy(id);
    });
  },
);

describe.skipIf(noSimulator)('two clusters of one vCenter', () => {
  let vcenter: VcenterUnderTest;
  let one: VsphereDriver;
  let two: VsphereDriver;
  beforeAll(async () => {
    vcenter = await VcenterUnderTest.start('-clusters', '2', '-hosts', '1');
    one = vcenter.open({ cluster: 'DC0_C0', member: null });
    two = vcenter.open({ cluster: 'DC0_C1', member: null });
  });
  afterAll(async () => {
    for (const driver of [one, two]) await driver?.close();
    await vcenter?.stop();
  });

  it('have an attempt of a server each, and move it live before and afterwards', async () => {
    const spec = await vcenter.running(one);
    const { id } = spec;
    const of = (attempt: number) => ({ ...spec, mark: { ...spec.mark, attempt } });
    const live = async (from: VsphereDriver, to: VsphereDriver, attempt: number) => {
      const ticket = await to.liveMigration.receive(
        of(attempt),
        await from.liveMigration.offer(id),
        { disks: 'shared', attached: [] },
        never,
      );
      await from.liveMigration.send(id, ticket, { signal: never });
      expect(await from.inspect(id)).toMatchObject({ stage: 'moved', mark: { attempt: attempt - 1 } });
      await to.liveMigration.accept(id);
      await from.destroy(id);
      expect(await to.inspect(id)).toMatchObject({ stage: 'settled', power: 'running', mark: { attempt } });
    };
    await live(one, two, 2);
    await two.powerOff(id, ms(0));
    await one.spawn(of(3), never);
    expect(await one.inspect(id)).toMatchObject({ mark: { attempt: 3 }, power: 'running' });
    expect(await two.inspect(id)).toMatchObject({ mark: { attempt: 2 }, power: 'shutdown' });
    await two.destroy(id);
    await live(one, two, 4);
    await two.destroy(id);
    expect(await vcenter.vmsOf(id)).toEqual([]);
  });
});
