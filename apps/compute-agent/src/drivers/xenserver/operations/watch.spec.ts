import type { ServerId } from '@omnivisor/contracts';
import { expect, it } from 'vitest';
import { never, Pools } from '../testing/pools.js';
import type { XenServerDriver } from '../xenserver.driver.js';

const pools = new Pools();

/** The servers that the driver tells of from now on. */
const toldOf = (driver: XenServerDriver): Set<ServerId> => {
  const told = new Set<ServerId>();
  const events = driver.events(never);
  void (async () => {
    for await (const { serverId } of events) told.add(serverId);
  })();
  return told;
};

it('goes on under a new master that has not counted as many changes as the one before', async () => {
  const own = await pools.start();
  const driver = pools.drive({}, own);
  const [{ id }, gone] = [await pools.running(driver, {}, own), await pools.running(driver, {}, own)];
  const told = toldOf(driver);
  await expect.poll(() => [...told].sort()).toEqual([id, gone.id].sort());
  told.clear();

  const { ref } = own.vmOf(gone.id);
  own.double.changeMaster(own.double.host(1), { behind: Number.MAX_SAFE_INTEGER });
  own.double.db.destroy('VM', ref);
  await expect.poll(() => [...told], { timeout: 10_000 }).toEqual([gone.id]);
  own.double.stopFromInside(pools.recordOf(id, own).uuid, 'shutdown');
  await expect.poll(() => told.has(id), { timeout: 10_000 }).toBe(true);
});
