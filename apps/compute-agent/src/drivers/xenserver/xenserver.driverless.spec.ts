import { beforeAll, describe, expect, it } from 'vitest';
import type { PoolUnderTest } from './testing/pool-under-test.js';
import { never, Pools } from './testing/pools.js';

const pools = new Pools();
type Driver = ReturnType<Pools['drive']>;
type Running = Awaited<ReturnType<Pools['running']>>;
const unsupported = { code: 'unsupported' };

describe('an HVM guest without PV drivers', () => {
  let pool: PoolUnderTest;
  beforeAll(async () => {
    pool = await pools.start({ guestTools: false });
  });

  /** Runs what is refused, and looks whether the guest has noticed. */
  const untouched = async (change: (driver: Driver, guest: Running) => Promise<unknown>) => {
    const driver = pools.drive({}, pool);
    const guest = await pools.running(driver, {}, pool);
    expect(pools.recordOf(guest.id, pool).domain_type).toBe('hvm');
    const look = () => {
      const { VBDs, VIFs, domid, power_state, other_config } = pools.recordOf(guest.id, pool);
      return { VBDs, VIFs, domid, power_state, other_config };
    };
    const before = look();
    await change(driver, guest);
    expect(look()).toEqual(before);
    await driver.destroy(guest.id);
    expect(await pool.leftovers(guest.id, 0)).toEqual([]);
  };

  it('gains no device while it runs', () =>
    untouched(async (driver, { id }) => {
      const { disk, exists, remove } = await pool.disk();
      await expect(driver.disks.attach(id, disk)).rejects.toMatchObject(unsupported);
      await expect(driver.nics.attach(id, pool.nic())).rejects.toMatchObject(unsupported);
      expect(await exists()).toBe(true);
      await remove();
    }));

  it('loses none either', () =>
    untouched(async (driver, { id, nics }) => {
      for (const { portId } of nics) await expect(driver.nics.detach(id, portId)).rejects.toMatchObject(unsupported);
    }));

  it('is not suspended, paused or not', () =>
    untouched(async (driver, { id }) => {
      await expect(driver.suspending.suspend(id)).rejects.toMatchObject(unsupported);
      await driver.pausing.pause(id);
      await expect(driver.suspending.suspend(id)).rejects.toMatchObject(unsupported);
      expect(await driver.inspect(id)).toMatchObject({ power: 'paused' });
      await driver.pausing.unpause(id);
    }));

  it('goes nowhere while it runs, and nothing stays where it was expected', () =>
    untouched(async (driver, spec) => {
      const target = pools.drive({ member: 'xs2' }, pool);
      const expected = { ...spec, mark: { ...spec.mark, attempt: spec.mark.attempt + 1 } };
      const offer = await driver.liveMigration.offer(spec.id);
      const ticket = await target.liveMigration.receive(expected, offer, { disks: 'copied', attached: [] }, never);
      await expect(driver.liveMigration.send(spec.id, ticket, { signal: never })).rejects.toMatchObject(unsupported);
      await driver.liveMigration.recover(spec.id);
      await target.liveMigration.cancel(spec.id);
      expect(await pool.leftovers(spec.id, 1)).toEqual([]);
    }));

  it('has the devices that it was given while it was off', async () => {
    const driver = pools.drive({}, pool);
    const { id, nics } = await pools.running(driver, { powerOn: false }, pool);
    const { disk, remove } = await pool.disk();
    const nic = pool.nic();
    await driver.disks.attach(id, disk);
    await driver.nics.attach(id, nic);
    await driver.powerOn(id, [...nics, nic]);
    expect((await driver.statistics.read(id)).disks.map((known) => known.disk)).toContain(disk.diskId);
    expect(pool.passes(id, nic.portId)).toBe(true);
    await driver.destroy(id);
    await remove();
  });
});
