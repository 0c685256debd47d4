import { gib, ms } from '@omnivisor/contracts';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { never, Pools } from '../testing/pools.js';

const pools = new Pools();
afterEach(() => vi.restoreAllMocks());

describe('a guest with much memory and large disks', () => {
  /** As if for tasks a minute went by in 12 ms. */
  const hurry = () => {
    const { timeout } = AbortSignal;
    vi.spyOn(AbortSignal, 'timeout').mockImplementation((limit) => timeout.call(AbortSignal, limit / 5_000));
  };

  it('gets more than ten minutes for what writes all of them', async () => {
    const halfAnHour = 360;
    const steps = { suspend: halfAnHour, resume_on: halfAnHour, clone: halfAnHour, snapshot: halfAnHour };
    const slow = await pools.start({ latencies: { ...steps, resize: halfAnHour } });
    const driver = pools.drive({}, slow);
    const { id, flavor, nics } = await pools.running(driver, {}, slow);
    hurry();
    await driver.suspending.suspend(id);
    await driver.suspending.resume(id, nics);
    expect(await driver.inspect(id)).toMatchObject({ power: 'running' });
    const { stream } = await driver.snapshots.exportDisk(id, 'root', 'raw', never);
    stream.destroy();
    vi.restoreAllMocks();
    await driver.powerOff(id, ms(0));
    hurry();
    await driver.resizing.resize(id, { ...flavor, disk: gib(2) }, never);
    vi.restoreAllMocks();
    await driver.destroy(id);
  });

  it('is not waited for any longer when what copies its disk is aborted', async () => {
    const slow = await pools.start({ latencies: { snapshot: 60_000 } });
    const driver = pools.drive({}, slow);
    const { id } = await pools.running(driver, {}, slow);
    const abort = new AbortController();
    const exported = expect(driver.snapshots.exportDisk(id, 'root', 'raw', abort.signal)).rejects.toMatchObject({
      native: expect.stringContaining('TASK_CANCELLED'),
    });
    const tasks = () => slow.double.db.all('task').map(([, { name_label: name }]) => name);
    await expect.poll(tasks).toContain('Async.VDI.snapshot');
    abort.abort();
    await exported;
    await driver.destroy(id);
  });
});

describe('a guest that has no tools yet', () => {
  const booting = async () => {
    const bare = await pools.start({ guestTools: false });
    const driver = pools.drive({}, bare);
    const { id } = await pools.running(driver, {}, bare);
    const counted = (method: string) => bare.double.faults.counts.get(method) ?? 0;
    return { bare, driver, id, counted };
  };

  it('is asked again until it has, and shuts down by itself', async () => {
    const { bare, driver, id, counted } = await booting();
    const off = driver.powerOff(id, ms(60_000));
    await expect.poll(() => counted('VM.clean_shutdown'), { timeout: 5_000 }).toBeGreaterThan(0);
    bare.double.reportGuest(pools.recordOf(id, bare).uuid, { PV_drivers_detected: true });
    await off;
    expect(await driver.inspect(id)).toMatchObject({ power: 'shutdown' });
    expect(counted('VM.hard_shutdown')).toBe(0);
    await driver.destroy(id);
  });

  it('is cut off when its grace is over', async () => {
    const { driver, id, counted } = await booting();
    await driver.powerOff(id, ms(300));
    expect(await driver.inspect(id)).toMatchObject({ power: 'shutdown' });
    expect([counted('VM.clean_shutdown') > 0, counted('VM.hard_shutdown')]).toEqual([true, 1]);
    await driver.destroy(id);
  });
});
