import { gib, type ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { fileSource, rootFrom } from '../../common/test-guest.js';
import { never, Pools } from '../testing/pools.js';

const pools = new Pools();
const copied = { disks: 'copied', attached: [] } as const;
const readDisks = (id: ServerId) =>
  pools.stateOf(id).disks.map(({ vdi }) => pools.first.double.db.all('VDI').find(([, { uuid }]) => uuid === vdi)![1]);

describe('disks', () => {
  it('lie on the storage that is configured, as large as the flavor says', async () => {
    const driver = pools.drive({ repository: 'NFS virtual disk storage' });
    const { id } = await pools.running(driver, { disks: rootFrom(fileSource(pools.first.image), gib(3)) });
    const [vdi] = readDisks(id);
    expect(vdi).toMatchObject({ virtual_size: 3 * 2 ** 30 });
    await driver.destroy(id);
  });

  it('of a member’s own storage come and go by that member', async () => {
    const [first, second] = pools.first.double.db
      .all('SR')
      .filter(([, { name_label }]) => name_label === 'Local storage');
    const driver = pools.drive({ member: 'xs2', repository: second![1].uuid });
    expect(first![0]).not.toBe(second![0]);
    const { id } = await pools.running(driver);
    expect(readDisks(id)[0]!.SR).toBe(second![0]);
    const disk = await driver.snapshots.exportDisk(id, 'root', 'raw', never);
    let size = 0;
    for await (const chunk of disk.stream) size += chunk.length;
    expect(size).toBe(disk.virtualSize);
    await driver.destroy(id);
  });

  it('are copied to the storage of another member, with a config drive made anew', async () => {
    const [first, second] = pools.first.double.db
      .all('SR')
      .filter(([, { name_label }]) => name_label === 'Local storage');
    const [source, target] = [
      pools.drive({ repository: first![1].uuid }),
      pools.drive({ member: 'xs2', repository: second![1].uuid }),
    ];
    const configDrive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
    const spec = await pools.running(source, { configDrive });
    const offer = await source.liveMigration.offer(spec.id);
    await target.liveMigration.receive(spec, offer, copied, never);
    const ticket = await target.liveMigration.receive(spec, offer, copied, never);
    const before = readDisks(spec.id).map(({ uuid }) => uuid);
    await source.liveMigration.send(spec.id, ticket, { signal: never });
    for (let i = 0; i < 2; i++) await target.liveMigration.accept(spec.id);
    const disks = readDisks(spec.id);
    expect(disks.map(({ SR }) => SR)).toEqual([second![0], second![0]]);
    expect(disks.map(({ uuid }) => uuid).filter((uuid) => before.includes(uuid))).toEqual([]);
    expect(await pools.first.leftovers(spec.id, 1)).toHaveLength(3);
    expect(await pools.first.configDriveFiles(spec.id)).toEqual([...configDrive.keys()]);
    const drives = pools.first.double.db.childrenOf('VBD', 'VM', pools.first.vmOf(spec.id).ref);
    expect(drives.map((ref) => pools.first.double.db.get('VBD', ref).empty)).toEqual([false, false]);
    await source.destroy(spec.id);
    await target.reboot(spec.id, 'hard', spec.nics);
    await target.destroy(spec.id);
    expect(await pools.first.leftovers(spec.id, 1)).toEqual([]);
  });

  it('that were copied go with a guest that came and was not accepted', async () => {
    const [first, second] = pools.first.double.db
      .all('SR')
      .filter(([, { name_label }]) => name_label === 'Local storage');
    const source = pools.drive({ repository: first![1].uuid });
    const target = pools.drive({ member: 'xs2', repository: second![1].uuid });
    const before = pools.first.double.db.refs('VDI').length;
    const spec = await pools.running(source);
    const ticket = await target.liveMigration.receive(spec, await source.liveMigration.offer(spec.id), copied, never);
    await source.liveMigration.send(spec.id, ticket, { signal: never });
    await expect(target.liveMigration.cancel(spec.id)).rejects.toMatchObject({ code: 'fault' });
    await target.destroy(spec.id);
    await source.destroy(spec.id);
    expect(pools.first.double.db.refs('VDI')).toHaveLength(before);
  });

  it('that a guest has ejected are there at its next start', async () => {
    const driver = pools.drive();
    const configDrive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
    const spec = await pools.running(driver, { configDrive });
    const drives = () => pools.first.double.db.childrenOf('VBD', 'VM', pools.first.vmOf(spec.id).ref);
    const cd = drives().find((ref) => pools.first.double.db.get('VBD', ref).type === 'CD');
    await pools.first.pool.call('VBD.eject', cd);
    await driver.reboot(spec.id, 'hard', spec.nics);
    expect(drives().map((ref) => pools.first.double.db.get('VBD', ref).empty)).toEqual([false, false]);
    await driver.destroy(spec.id);
  });

  it('that are attached stay behind with their guest where the other side does not see them', async () => {
    const driver = pools.drive();
    const { disk, exists, remove } = await pools.first.disk('Local storage');
    const spec = await pools.running(driver);
    const offer = await driver.liveMigration.offer(spec.id);
    const there = pools.drive({ member: 'xs2' });
    const ticket = await there.liveMigration.receive(spec, offer, copied, never);
    await driver.disks.attach(spec.id, disk);
    for (const call of [
      there.liveMigration.receive(spec, offer, copied, never),
      driver.liveMigration.send(spec.id, ticket, { signal: never }),
    ])
      await expect(call).rejects.toMatchObject({ code: 'unsupported' });
    expect(await driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
    await driver.destroy(spec.id);
    expect(await exists()).toBe(true);
    await remove();
  });
});
