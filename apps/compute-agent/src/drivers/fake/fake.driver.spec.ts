import { mib, ms, ServerId } from '@omnivisor/contracts';
import { SystemClock } from '@omnivisor/platform';
import { VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { testGuest } from '../common/test-guest.js';
import { describeHypervisorDriver } from '../conformance.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { FakeDriver } from './fake.driver.js';
import { FakeHypervisor } from './fake-hypervisor.js';

const cloudId = 'test-cloud';
const id = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const never = new AbortController().signal;

const machine = new FakeHypervisor({ clock: new SystemClock(), shutdownTime: ms(1) });
const openDriver = async () => new FakeDriver(machine, { cloudId });

describeHypervisorDriver({
  name: 'fake',
  supports: ['pausing', 'consoleLog', 'consoles'],
  open: openDriver,
  reopen: openDriver,
  close: (driver) => driver.close(),
  guest: async (serverId) => testGuest(serverId, cloudId),
  tooBig: async (serverId) => {
    const guest = testGuest(serverId, cloudId);
    return { ...guest, flavor: { ...guest.flavor, memory: mib(machine.inventory.memoryMib + 1) } };
  },
  failing: async (serverId) => {
    machine.failNext('spawn');
    return testGuest(serverId, cloudId);
  },
  leftovers: async (serverId) => (machine.guest(serverId) ? [serverId] : []),
  shutDownFromInside: async (serverId) => machine.shutDownFromInside(serverId),
  ignorePowerButton: async (serverId) => {
    machine.ignoringAcpi.add(serverId);
  },
  foreignGuest: async () => {
    machine.foreignGuests.set('somebody-else', { power: 'running' });
    return {
      untouched: async () => machine.foreignGuests.get('somebody-else')?.power === 'running',
      remove: async () => void machine.foreignGuests.delete('somebody-else'),
    };
  },
  makeUnreachable: async () => {
    machine.unreachable = true;
    return async () => {
      machine.unreachable = false;
    };
  },
  firstConsoleText: /fake guest .*: power on/,
});

describe('a fake machine', () => {
  const onVirtualTime = () => {
    const clock = new VirtualClock();
    const host = new FakeHypervisor({
      clock,
      inventory: { vcpus: 1, memoryMib: 40, diskGib: 10 },
      delays: { spawn: ms(5_000) },
      shutdownTime: ms(30_000),
    });
    return { clock, host, driver: new FakeDriver(host, { cloudId }) };
  };

  it('takes its time from the clock it is given', async () => {
    const { clock, host, driver } = onVirtualTime();
    const started = clock.now();
    let spawned = false;
    void driver.spawn(testGuest(id, cloudId), never).then(() => {
      spawned = true;
    });
    await clock.runUntil(() => spawned);
    expect(Date.parse(clock.now()) - Date.parse(started)).toBe(5_000);
    let off = false;
    void driver.powerOff(id, ms(10_000)).then(() => {
      off = true;
    });
    await clock.runUntil(() => off);
    expect(Date.parse(clock.now()) - Date.parse(started)).toBe(15_000);
    expect(host.guest(id)?.power).toBe('shutdown');
  });

  it('counts guests in the making, so that two at once do not take the same room', async () => {
    const { clock, driver } = onVirtualTime();
    const other = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000002');
    const big = (serverId: ServerId) => {
      const guest = testGuest(serverId, cloudId);
      return { ...guest, flavor: { ...guest.flavor, memory: mib(30) } };
    };
    const results: string[] = [];
    for (const serverId of [id, other])
      void driver.spawn(big(serverId), never).then(
        () => results.push('spawned'),
        (error: HypervisorError) => results.push(error.code),
      );
    await clock.runUntil(() => results.length === 2);
    expect(results).toEqual(['noResources', 'spawned']);
  });

  it('fails as often as it was told', async () => {
    const host = new FakeHypervisor({ clock: new VirtualClock() });
    const driver = new FakeDriver(host, { cloudId });
    host.failNext('spawn', new HypervisorError('noResources', 'full'), 2);
    for (let i = 0; i < 2; i++)
      await expect(driver.spawn(testGuest(id, cloudId), never)).rejects.toMatchObject({ code: 'noResources' });
    await driver.spawn(testGuest(id, cloudId), never);
    expect(host.guest(id)?.power).toBe('running');
  });

  it('shows guests of another cloud to nobody', async () => {
    const host = new FakeHypervisor({ clock: new VirtualClock() });
    await new FakeDriver(host, { cloudId: 'another' }).spawn(testGuest(id, 'another'), never);
    const driver = new FakeDriver(host, { cloudId });
    expect(await driver.list()).toEqual([]);
    await driver.destroy(id);
    expect(host.guest(id)).toBeDefined();
  });

  it('lacks the members it is told to lack', () => {
    const driver = new FakeDriver(machine, { cloudId, without: ['pausing', 'consoles'] });
    expect([driver.pausing, driver.consoles, typeof driver.consoleLog]).toEqual([undefined, undefined, 'object']);
  });
});
