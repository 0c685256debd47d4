import { mib, ms } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { never, newId, Pools } from './testing/pools.js';
import { recordInside } from './testing/record-inside.js';

const pools = new Pools();
const copied = { disks: 'copied', attached: [] } as const;

describe('a pool', () => {
  it('is one host, with what all its members have', async () => {
    const [whole, member] = [pools.drive({ member: null }), pools.drive()];
    const [all, one] = [await whole.inventory(), await member.inventory()];
    expect([all.vcpus, all.memoryMib]).toEqual([one.vcpus * 2, one.memoryMib * 2]);
    expect([all.diskGib, one.diskGib]).toEqual([1000, 500]);
    expect([whole.maintenance, typeof member.maintenance]).toEqual([undefined, 'object']);
  });

  it('follows a guest that the pool has moved, by itself or for want of its member', async () => {
    const [whole, member] = [pools.drive({ member: null }), pools.drive()];
    for (const driver of [whole, member]) {
      const { id, nics } = await pools.running(driver);
      pools.first.double.moveVm(pools.recordOf(id).uuid, 1);
      expect(await driver.inspect(id)).toMatchObject({ stage: 'settled', power: 'running' });
      const stream = await driver.consoles.open(id, 'vnc');
      stream.close();
      await driver.powerOff(id, ms(0));
      await driver.powerOn(id, nics);
      await driver.destroy(id);
    }
  });

  it('keeps guests of one member from the agent of another', async () => {
    const [first, second] = [pools.drive(), pools.drive({ member: 'xs2' })];
    const spec = await pools.running(first);
    expect((await second.list()).map(({ mark }) => mark.serverId)).not.toContain(spec.id);
    await second.destroy(spec.id);
    await expect(second.spawn(spec, never)).rejects.toMatchObject({ code: 'fault' });
    expect(await first.inspect(spec.id)).toMatchObject({ power: 'running' });
    await first.destroy(spec.id);
  });

  it('refuses in a rebuild and a rescue what it refuses in a spawn, and leaves the guest as it was', async () => {
    const driver = pools.drive();
    const spec = await pools.running(driver);
    const mark = { ...spec.mark, build: 1 };
    const kernel = spec.disks.root.source;
    for (const [change, words] of [
      [{ directBoot: { kernel, ramdisk: null, commandLine: null } }, 'a kernel outside of the disk'],
      [{ image: { ...spec.image, properties: { hw_watchdog_action: 'reset' } } }, 'hw_watchdog_action=reset'],
    ] as const) {
      const refused = { code: 'unsupported', message: expect.stringContaining(words) };
      await expect(driver.spawn({ ...pools.first.guest(newId()), ...change }, never)).rejects.toMatchObject(refused);
      await expect(driver.rebuilding.rebuild({ ...spec, ...change, mark }, never)).rejects.toMatchObject(refused);
      await expect(driver.rescuing.rescue({ ...spec, ...change }, never)).rejects.toMatchObject(refused);
    }
    expect(await driver.inspect(spec.id)).toMatchObject({ mark: spec.mark, power: 'running', stage: 'settled' });
    await driver.destroy(spec.id);
  });

  it('says what is wrong with its configuration', async () => {
    for (const [change, words] of [
      [{ member: 'xs9' }, 'the pool has no member xs9'],
      [{ access: { ...pools.first.options().access, password: 'guess' } }, 'SESSION_AUTHENTICATION_FAILED'],
      [{ access: { ...pools.first.options().access, urls: ['http://127.0.0.9:9'] } }, 'does not answer'],
    ] as const) {
      const report = await pools.drive(change).probe(never);
      expect(report.health).toBe('unhealthy');
      expect(report.reason).toContain(words);
    }
    await expect(pools.drive({ repository: 'no such storage' }).inventory()).rejects.toThrow('no storage repository');
  });

  it('is unhealthy when no guest can be built, and nothing of the try is left', async () => {
    pools.first.double.faults.add({
      method: 'VM.start_on',
      error: ['HOST_NOT_ENOUGH_FREE_MEMORY', '1', '0'],
      times: 1,
    });
    const driver = pools.drive();
    expect(await driver.probe(never)).toMatchObject({ health: 'unhealthy' });
    expect(await driver.probe(never)).toMatchObject({ health: 'healthy', hypervisorVersion: 8_004_000 });
    expect(pools.first.double.db.all('VM').filter(([, { name_label }]) => name_label === 'omnivisor probe')).toEqual(
      [],
    );
  });

  it('is unhealthy where guests are built and do not run', async () => {
    for (const guestsEnd of ['crash', 'reboot']) {
      const lame = await pools.start({ guestsEnd });
      for (const member of ['xs1', null])
        expect(await pools.drive({ member }, lame).probe(never)).toMatchObject({
          ...{ health: 'unhealthy', reason: expect.stringContaining('ended as soon as it ran') },
          hypervisorVersion: 8_004_000,
        });
      expect(lame.double.db.all('VM').filter(([, vm]) => !vm.is_control_domain && !vm.is_a_template)).toEqual([]);
    }
  });

  it('has serial consoles only while all of its members make paravirtual guests', async () => {
    const own = await pools.start();
    const capabilities = own.double.db.get('host', own.double.host(1)).capabilities as string[];
    const setSecond = (given: string[]) => own.double.db.set('host', own.double.host(1), { capabilities: given });
    setSecond(capabilities.filter((capability) => capability.startsWith('hvm-')));
    const [whole, member] = [pools.drive({ member: null }, own), pools.drive({}, own)];
    const kinds = () => [whole, member].map((driver) => [...driver.consoles.kinds]);
    for (const driver of [whole, member]) await driver.probe(never);
    expect(kinds()).toEqual([['vnc'], ['vnc', 'serial']]);
    setSecond(capabilities);
    await whole.survey();
    const both = [
      ['vnc', 'serial'],
      ['vnc', 'serial'],
    ];
    expect(kinds()).toEqual(both);
    for (const n of [0, 1]) own.double.cutMember(n, 'refuse');
    expect(await whole.probe(never)).toMatchObject({ health: 'unhealthy', version: null });
    expect(kinds()).toEqual(both);
  });

  it('goes on under a new master in the middle of things', async () => {
    const driver = pools.drive();
    const spec = await pools.running(driver);
    pools.first.double.changeMaster(pools.first.double.host(1));
    expect(await driver.inspect(spec.id)).toMatchObject({ power: 'running' });
    await driver.reboot(spec.id, 'hard', spec.nics);
    pools.first.double.changeMaster(pools.first.double.host(0));
    await driver.destroy(spec.id);
  });

  it('does nothing twice when an answer is lost', async () => {
    const driver = pools.drive();
    for (const method of ['VM.create', 'VDI.create', 'VM.start_on']) {
      pools.first.double.faults.add({ method, loseAnswer: true, times: 1 });
      const spec = pools.first.guest(newId());
      const { serverId: id } = spec.mark;
      await expect(driver.spawn(spec, never)).rejects.toMatchObject({ code: 'unavailable' });
      await driver.spawn(spec, never);
      expect(pools.first.double.db.all('VM').filter(([, { name_label }]) => name_label === spec.name)).toHaveLength(1);
      await driver.destroy(id);
      expect(await pools.first.leftovers(id, 0)).toEqual([]);
    }
  });
});

describe('a member that leaves', () => {
  it('takes no guests along that its agent had, and those of the pool then say so', async () => {
    const own = await pools.start();
    const second = pools.drive({ member: 'xs2' }, own);
    const [quiet, changed] = [await pools.running(second, {}, own), await pools.running(second, {}, own)];
    const whole = pools.drive({ member: null }, own);
    const { place } = pools.stateOf(changed.id, own);
    await whole.reboot(changed.id, 'hard', changed.nics);
    expect([pools.stateOf(quiet.id, own).place, pools.stateOf(changed.id, own).place]).toEqual([
      place,
      own.double.db.all('pool')[0]![1].uuid,
    ]);
    for (const { id } of [quiet, changed]) own.double.moveVm(pools.recordOf(id, own).uuid, 0);
    own.double.db.destroy('host', own.double.host(1));
    await whole.inventory();
    for (const { id } of [quiet, changed])
      expect(await whole.inspect(id)).toMatchObject({ power: 'running', stage: 'settled' });
    const next = pools.drive({ member: null }, own);
    expect((await next.list()).map(({ mark }) => mark.serverId)).toEqual([changed.id]);
    for (const { id } of [quiet, changed]) await whole.destroy(id);
  });
});

describe('a guest that takes its time to shut down', () => {
  it('is cut off after its grace, also when its shutdown does not let itself be cancelled', async () => {
    const slow = await pools.start({ shutdownPatience: 60_000 });
    const driver = pools.drive({ access: { ...slow.options().access, cancelGrace: 100 } }, slow);
    const { id } = await pools.running(driver, {}, slow);
    slow.double.ignorePowerButton(pools.recordOf(id, slow).uuid);
    slow.double.faults.add({ method: 'task.cancel', error: ['OPERATION_NOT_ALLOWED', 'not now'] });
    await driver.powerOff(id, ms(200));
    expect(await driver.inspect(id)).toMatchObject({ power: 'shutdown' });
    slow.double.faults.clear();
    await driver.destroy(id);
  });
});

describe('rights', () => {
  it('of vm-power-admin suffice for everything but what the pool itself is changed by', async () => {
    const strict = await pools.start({ users: [{ name: 'root', password: 'secret', role: 'vm-power-admin' }] });
    const driver = pools.drive({ createVlans: false }, strict);
    expect(await driver.probe(never)).toMatchObject({ health: 'healthy' });
    const files = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
    const spec = await pools.running(driver, { configDrive: files }, strict);
    await driver.suspending.suspend(spec.id);
    await driver.suspending.resume(spec.id, spec.nics);
    await driver.rebuilding.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);
    await driver.rescuing.rescue(spec, never);
    await driver.rescuing.unrescue(spec.id, spec.nics);
    const disk = await driver.snapshots.exportDisk(spec.id, 'root', 'vhd', never);
    disk.stream.destroy();
    const extra = strict.nic();
    await driver.nics.attach(spec.id, extra);
    (await driver.consoles.open(spec.id, 'vnc')).close();
    const ticket = await pools
      .drive({ member: 'xs2', createVlans: false }, strict)
      .liveMigration.receive(spec, await driver.liveMigration.offer(spec.id), copied, never);
    await driver.liveMigration.send(spec.id, ticket, { signal: never });
    await pools.drive({ member: 'xs2' }, strict).liveMigration.accept(spec.id);
    await driver.destroy(spec.id);

    const other = await pools.running(driver, {}, strict);
    const relocked = { ...other.nics[0]!, guard: null };
    await expect(driver.nics.attach(other.id, relocked)).rejects.toMatchObject({ code: 'unsupported' });
    await expect(driver.maintenance!.enter(never)).rejects.toMatchObject({ code: 'unsupported' });
    await driver.powerOff(other.id, ms(0));
    await driver.powerOn(other.id, [relocked]);
    await driver.destroy(other.id);
  });
});

describe('maintenance', () => {
  const setHost = (n: number, change: Record<string, unknown>) =>
    pools.first.double.db.set('host', pools.first.double.host(n), change);
  const setLive = (n: number, live: boolean) =>
    pools.first.double.db.set('host_metrics', pools.first.double.db.get('host', pools.first.double.host(n)).metrics, {
      live,
    });

  it('of its member is told, however it came; guests there are answered, and their host still counts', async () => {
    const driver = pools.drive();
    const { id } = await pools.running(driver);
    const before = await driver.inventory();
    setHost(0, { enabled: false });
    const words = 'the member is in maintenance mode';
    await expect(driver.check()).rejects.toMatchObject({ code: 'unavailable', message: words });
    expect(await driver.probe(never)).toMatchObject({
      ...{ health: 'unhealthy', reason: words, inMaintenance: true, hypervisorVersion: 8_004_000 },
    });
    expect(await driver.inspect(id)).toMatchObject({ power: 'running', stage: 'settled' });
    expect((await driver.list()).map(({ mark }) => mark.serverId)).toContain(id);
    expect(await driver.inventory()).toEqual(before);
    setHost(0, { enabled: true });
    await driver.check();
    expect(await driver.probe(never)).toMatchObject({ health: 'healthy' });
    await driver.destroy(id);
  });

  it('of members, or their death, takes what they have from a pool that is one host', async () => {
    const whole = pools.drive({ member: null });
    const [all, one] = [await whole.inventory(), await pools.drive().inventory()];
    for (const lose of [() => setHost(1, { enabled: false }), () => setLive(1, false)]) {
      lose();
      await whole.check();
      const { vcpus, memoryMib, diskGib } = await whole.inventory();
      expect({ vcpus, memoryMib, diskGib }).toEqual({ ...one, diskGib: all.diskGib });
      setHost(1, { enabled: true });
      setLive(1, true);
    }
    for (const n of [0, 1]) setHost(n, { enabled: false });
    await expect(whole.check()).rejects.toMatchObject({ message: 'every member is in maintenance mode' });
    expect(await whole.probe(never)).toMatchObject({ health: 'unhealthy', inMaintenance: true });
    for (const n of [0, 1]) setLive(n, false);
    await expect(whole.check()).rejects.toMatchObject({ message: 'no member of the pool lives' });
    for (const n of [0, 1]) {
      setLive(n, true);
      setHost(n, { enabled: true });
    }
    expect(await whole.inventory()).toEqual(all);
  });

  it('moves guests to other members, and they stay ours', async () => {
    const driver = pools.drive();
    const { id, nics } = await pools.running(driver);
    await driver.maintenance!.enter(never);
    expect(pools.first.double.db.get('host', pools.recordOf(id).resident_on).name_label).toBe('xs2');
    expect(await driver.inspect(id)).toMatchObject({ power: 'running', stage: 'settled' });
    await expect(driver.spawn(pools.first.guest(newId()), never)).rejects.toMatchObject({ code: 'noResources' });
    await driver.reboot(id, 'hard', nics);
    await driver.suspending.suspend(id);
    await driver.suspending.resume(id, nics);
    expect(await driver.inspect(id)).toMatchObject({ power: 'running', stage: 'settled' });
    await driver.maintenance!.leave();
    await driver.reboot(id, 'hard', nics);
    expect(pools.first.double.db.get('host', pools.recordOf(id).resident_on).name_label).toBe('xs1');
    await driver.destroy(id);
  });

  it('that somebody else has begun is over before the member is taken back, or emptied anew', async () => {
    const own = await pools.start({ latencies: { pool_migrate: 1_000 } });
    const [driver, other] = [pools.drive({}, own), pools.drive({}, own)];
    const { id } = await pools.running(driver, {}, own);
    const member = () => own.double.db.get('host', own.double.host(0));
    for (const next of ['leave', 'enter'] as const) {
      const emptied = expect(other.maintenance!.enter(never)).rejects.toMatchObject({
        native: expect.stringContaining('TASK_CANCELLED'),
      });
      await expect.poll(() => Object.values(member().current_operations)).toEqual(['evacuate']);
      await driver.maintenance![next](never);
      await emptied;
      expect([member().enabled, member().current_operations]).toEqual([next === 'leave', {}]);
    }
    expect(pools.recordOf(id, own).resident_on).toBe(own.double.host(1));
    await driver.maintenance!.leave();
    await driver.destroy(id);
  });

  it('is not hindered by a live migration that begins meanwhile', async () => {
    const slow = await pools.start({ latencies: { pool_migrate: 500 } });
    const driver = pools.drive({}, slow);
    const { id } = await pools.running(driver, {}, slow);
    const emptied = driver.maintenance!.enter(never);
    const moving = () => Object.values(pools.recordOf(id, slow).current_operations);
    await expect.poll(moving, { interval: 5 }).toEqual(['pool_migrate']);
    await expect(driver.liveMigration.recover(id)).rejects.toMatchObject({ code: 'unavailable' });
    await emptied;
    expect(slow.double.db.get('host', pools.recordOf(id, slow).resident_on).name_label).toBe('xs2');
    await driver.liveMigration.recover(id);
    await driver.destroy(id);
  });

  it('that cannot be had is over when the member is taken back', async () => {
    const driver = pools.drive();
    const { id } = await pools.running(driver);
    pools.first.double.db.set('host', pools.first.double.host(1), { enabled: false });
    await expect(driver.maintenance!.enter(never)).rejects.toMatchObject({ code: 'noResources' });
    await driver.maintenance!.leave();
    expect(pools.first.double.db.get('host', pools.first.double.host(0)).enabled).toBe(true);
    pools.first.double.db.set('host', pools.first.double.host(1), { enabled: true });
    await driver.destroy(id);
  });
});

describe('adoption', () => {
  it('is refused to a guest with a disk that others have as well', async () => {
    const own = await pools.start();
    const driver = pools.drive({}, own);
    const { db } = own.double;
    const { nativeId, nics, remove, untouched } = await own.foreign();
    const [vm] = db.all('VM').find(([, { uuid }]) => uuid === nativeId)!;
    const { VDI: vdi } = db.get('VBD', db.childrenOf('VBD', 'VM', vm)[0]!);
    const { mark } = own.guest(newId());
    const refused = { code: 'unsupported', message: expect.stringContaining('shares a disk') };
    db.set('VDI', vdi, { sharable: true });
    await expect(driver.adoption.adopt(nativeId, mark, nics)).rejects.toMatchObject(refused);
    db.set('VDI', vdi, { sharable: false });
    const other = await own.pool.vm({ name_label: 'other' });
    await own.pool.vbd(other, vdi);
    await expect(driver.adoption.adopt(nativeId, mark, nics)).rejects.toMatchObject(refused);
    expect(await untouched()).toBe(true);
    await own.pool.call('VM.destroy', other);
    expect(await driver.adoption.adopt(nativeId, mark, nics)).toMatchObject({ power: 'running' });
    await driver.adoption.release(mark.serverId);
    await remove();
  });
});

describe('another pool', () => {
  it('takes a guest with its memory and disk, and nothing can start where it was', async () => {
    const other = await pools.start();
    const [source, target] = [pools.drive(), pools.drive({}, other)];
    const configDrive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
    const spec = await pools.running(source, { configDrive });
    await recordInside(pools.first).memory.write(spec.id, 'M');
    await recordInside(pools.first).disk.write(spec.id, 0, 'D');
    const offer = await source.liveMigration.offer(spec.id);
    await expect(
      target.liveMigration.receive(spec, offer, { ...copied, disks: 'shared' }, never),
    ).rejects.toMatchObject({
      code: 'unsupported',
    });
    const ticket = await target.liveMigration.receive(spec, offer, copied, never);
    expect(await target.inspect(spec.id)).toMatchObject({ stage: 'incoming', power: 'noState' });
    await source.liveMigration.send(spec.id, ticket, { signal: never });
    expect(await source.inspect(spec.id)).toMatchObject({ stage: 'moved' });
    await expect(source.powerOn(spec.id, spec.nics)).rejects.toMatchObject({ code: 'fault' });
    await expect(target.liveMigration.cancel(spec.id)).rejects.toMatchObject({ code: 'fault' });
    for (let i = 0; i < 2; i++) await target.liveMigration.accept(spec.id);
    expect(await target.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running', mark: spec.mark });
    expect(await recordInside(other).memory.read(spec.id)).toBe('M');
    expect(await recordInside(other).disk.read(spec.id, 0)).toBe('D');
    expect(await other.configDriveFiles(spec.id)).toEqual([...configDrive.keys()]);
    for (let i = 0; i < 2; i++) await source.destroy(spec.id);
    expect(await pools.first.leftovers(spec.id, 0)).toEqual([]);
    await target.reboot(spec.id, 'hard', spec.nics);
    await target.destroy(spec.id);
    expect(await other.leftovers(spec.id, 0)).toEqual([]);
  });

  it('that has got it and is told to remove it leaves nothing', async () => {
    const other = await pools.start();
    const [source, target] = [pools.drive(), pools.drive({}, other)];
    const configDrive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
    const spec = await pools.running(source, { configDrive });
    const ticket = await target.liveMigration.receive(spec, await source.liveMigration.offer(spec.id), copied, never);
    await source.liveMigration.send(spec.id, ticket, { signal: never });
    await target.destroy(spec.id);
    await source.destroy(spec.id);
    expect([other.double.db.refs('VDI'), await pools.first.leftovers(spec.id, 0)]).toEqual([[], []]);
  });

  it('that does not take it leaves it where it was', async () => {
    const other = await pools.start();
    const [source, target] = [pools.drive(), pools.drive({}, other)];
    const spec = await pools.running(source);
    const ticket = await target.liveMigration.receive(spec, await source.liveMigration.offer(spec.id), copied, never);
    other.double.faults.add({ method: 'VDI.create', error: ['SR_FULL', '1', '0'], times: 1 });
    await expect(source.liveMigration.send(spec.id, ticket, { signal: never })).rejects.toMatchObject({
      code: 'noResources',
    });
    expect(await source.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
    for (let i = 0; i < 2; i++) await target.liveMigration.cancel(spec.id);
    expect(await other.leftovers(spec.id, 0)).toEqual([]);
    await source.destroy(spec.id);
    expect(await pools.first.leftovers(spec.id, 0)).toEqual([]);
  });
});

it('works with the data model of Citrix Hypervisor 8.2 and XCP-ng 8.2', async () => {
  const old = await pools.start({ release: 'stockholm' });
  const driver = pools.drive({}, old);
  expect(await driver.probe(never)).toMatchObject({ health: 'healthy' });
  const spec = await pools.running(driver, { flavor: { ...old.guest(newId()).flavor, memory: mib(32) } }, old);
  await driver.suspending.suspend(spec.id);
  await driver.suspending.resume(spec.id, spec.nics);
  await driver.rebuilding.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);
  await driver.destroy(spec.id);
  expect(await old.leftovers(spec.id, 0)).toEqual([]);
});
