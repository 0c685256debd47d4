import { ms } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import type { GuestNic } from '../hypervisor-driver.js';
import type { PoolUnderTest } from './testing/pool-under-test.js';
import { Pools } from './testing/pools.js';

const pools = new Pools();

/** A guest that runs and reports no drivers: it cannot let go of an interface. */
const bare = async (role = 'pool-admin') => {
  const pool = await pools.start({ guestTools: false, users: [{ name: 'root', password: 'secret', role }] });
  const driver = pools.drive({ createVlans: false }, pool);
  const spec = await pools.running(driver, {}, pool);
  expect(pools.recordOf(spec.id, pool).domain_type).toBe('hvm');
  const [nic] = spec.nics as [GuestNic];
  const port = () => pool.vifOf(spec.id, nic.portId).record;
  return { pool, driver, spec, nic, port, passes: () => pool.passes(spec.id, nic.portId) };
};

/** Calls that change a VIF from now on, in their order. */
const changes = ({ double: { faults } }: PoolUnderTest): string[] => {
  const seen: string[] = [];
  const { before } = faults;
  faults.before = (method: string, params: unknown[]) => {
    if (/^VIF\.(?!get_)/.test(method)) seen.push(method);
    return before.call(faults, method, params);
  };
  return seen;
};

describe('a port that is cut off', () => {
  it('passes nothing while its guest runs and lets go of nothing, until it is attached again', async () => {
    const { pool, driver, spec, nic, port, passes } = await bare();
    expect(passes()).toBe(true);
    await expect(driver.nics.detach(spec.id, nic.portId)).rejects.toMatchObject({ code: 'unsupported' });
    expect(passes()).toBe(true);
    const { device, MAC } = port();
    await driver.nics.cutOff(spec.id, nic.portId);
    expect([passes(), port()]).toEqual([false, expect.objectContaining({ device, MAC, currently_attached: true })]);
    const seen = changes(pool);
    await driver.nics.attach(spec.id, nic);
    expect([passes(), port().locking_mode]).toEqual([true, 'locked']);
    // Nothing of what it was allowed before passes once it is open.
    expect(seen).toEqual(['VIF.set_ipv4_allowed', 'VIF.set_ipv6_allowed', 'VIF.set_locking_mode']);
    await driver.destroy(spec.id);
  });

  it('stays so over a pause, a reset by the guest and a refused attachment', async () => {
    const { pool, driver, spec, nic, passes } = await bare();
    await driver.pausing.pause(spec.id);
    await driver.nics.cutOff(spec.id, nic.portId);
    await driver.pausing.unpause(spec.id);
    expect(passes()).toBe(false);
    pool.double.stopFromInside(pools.recordOf(spec.id, pool).uuid, 'reboot');
    await expect.poll(async () => (await driver.inspect(spec.id)).power).toBe('running');
    expect(passes()).toBe(false);
    const closed = { ...nic, guard: { ...nic.guard!, rules: [] } };
    await expect(driver.nics.attach(spec.id, closed)).rejects.toMatchObject({ code: 'unsupported' });
    expect(passes()).toBe(false);
    await driver.destroy(spec.id);
  });

  it('comes back with the power only as a lock, and else keeps the guest off', async () => {
    const { driver, spec, nic, port, passes } = await bare();
    await driver.nics.cutOff(spec.id, nic.portId);
    const closed = { ...nic, guard: { ...nic.guard!, rules: [] } };
    await driver.powerOff(spec.id, ms(0));
    await expect(driver.powerOn(spec.id, [closed])).rejects.toMatchObject({ code: 'unsupported' });
    expect(await driver.inspect(spec.id)).toMatchObject({ power: 'shutdown' });
    await driver.powerOn(spec.id, [nic]);
    expect([passes(), port().locking_mode]).toEqual([true, 'locked']);
    await driver.destroy(spec.id);
  });

  it('is taken from a guest that lets go of it, where the account may not lock', async () => {
    const { pool, driver, spec, nic, passes } = await bare('vm-power-admin');
    await expect(driver.nics.cutOff(spec.id, nic.portId)).rejects.toMatchObject({ code: 'unsupported' });
    expect(passes()).toBe(true);
    pool.double.reportGuest(pools.recordOf(spec.id, pool).uuid, { PV_drivers_detected: true });
    await driver.nics.cutOff(spec.id, nic.portId);
    expect(() => passes()).toThrow('has no port');
    await driver.nics.attach(spec.id, nic);
    expect(passes()).toBe(true);
    await driver.destroy(spec.id);
  });

  it('is locked before its suspended guest goes on, which else stays suspended', async () => {
    const driver = pools.drive();
    const spec = await pools.running(driver);
    const [nic] = spec.nics as [GuestNic];
    const port = () => pools.first.vifOf(spec.id, nic.portId).record;
    const { suspend, resume } = driver.suspending;
    const power = async () => (await driver.inspect(spec.id)).power;
    await suspend(spec.id);
    const before = port();
    const closed = { ...nic, guard: { ...nic.guard!, rules: [] } };
    await expect(resume(spec.id, [closed])).rejects.toMatchObject({ code: 'unsupported' });
    expect([await power(), port()]).toEqual(['suspended', before]);
    const address = { mac: nic.mac, ip: '192.0.2.7' };
    // One that it does not have is of no matter.
    const other = { ...closed, portId: 'another' };
    await resume(spec.id, [{ ...nic, guard: { ...nic.guard!, addresses: [address] } }, other]);
    expect([await power(), port().ipv4_allowed]).toEqual(['running', ['192.0.2.7']]);
    await suspend(spec.id);
    await driver.nics.cutOff(spec.id, nic.portId);
    await resume(spec.id, [nic]);
    expect([pools.first.passes(spec.id, nic.portId), port().ipv4_allowed]).toEqual([true, before.ipv4_allowed]);
    await driver.destroy(spec.id);
  });
});
