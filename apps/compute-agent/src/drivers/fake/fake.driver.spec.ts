import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Feature, features, mib, ms, ServerId } from '@omnivisor/contracts';
import { SystemClock } from '@omnivisor/platform';
import { VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { fileDisk, tapNic, testGuest } from '../common/test-guest.js';
import { describeHypervisorDriver } from '../conformance/index.js';
import { perform } from '../conformance/perform.js';
import { type ForeignGuest, HypervisorError } from '../hypervisor-driver.js';
import { FakeDriver } from './fake.driver.js';
import { LETTER_AT } from './fake-disk-image.js';
import { FakeHypervisor } from './fake-hypervisor.js';
import { InsideFakeGuest } from './inside.js';

const cloudId = 'test-cloud';
const id = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const never = new AbortController().signal;

const machine = new FakeHypervisor({ clock: new SystemClock(), shutdownTime: ms(1) });
const other = new FakeHypervisor({ clock: new SystemClock() });
/** A server may have been moved, so it is looked for where it is. */
const machineOf = (serverId: ServerId) => ((machine.guest(serverId)?.stage ?? 'moved') === 'moved' ? other : machine);
const inside = (serverId: ServerId) => new InsideFakeGuest(machineOf(serverId));
const openDriver = async () => new FakeDriver(machine, { cloudId });
const leftovers = (of: FakeHypervisor) => async (serverId: ServerId) => (of.guest(serverId) ? [serverId] : []);
let made = 0;
const foreign = (): ForeignGuest => ({
  nativeId: `foreign-${++made}`,
  name: 'theirs',
  power: 'running',
  vcpus: 1,
  memory: mib(64),
  disks: [{ name: 'disk', size: 1024 ** 3 }],
  nics: [{ mac: 'fa:16:3e:00:00:09', network: null }],
});
const somebodyElse = async () => {
  const guest = foreign();
  machine.foreignGuests.set(guest.nativeId, guest);
  return {
    nativeId: guest.nativeId,
    nics: [],
    untouched: async () => machine.foreignGuests.get(guest.nativeId)?.power === 'running',
    remove: async () => void machine.foreignGuests.delete(guest.nativeId),
  };
};

describeHypervisorDriver({
  backend: 'fake',
  level: 'L0',
  supports: Object.keys(features) as Feature[],
  open: openDriver,
  reopen: openDriver,
  openOtherCloud: async () => new FakeDriver(machine, { cloudId: 'another-cloud' }),
  guest: async (serverId) => testGuest(serverId, cloudId),
  tooBig: async (serverId) => {
    const guest = testGuest(serverId, cloudId);
    return { ...guest, flavor: { ...guest.flavor, memory: mib(machine.inventory.memoryMib + 1) } };
  },
  failing: async (serverId) => {
    machine.failNext('spawn');
    return testGuest(serverId, cloudId);
  },
  leftovers: leftovers(machine),
  inside: {
    up: async () => {},
    switchOff: async (serverId) => machineOf(serverId).shutDownFromInside(serverId),
    ignorePowerButton: async (serverId) => void machine.ignoringAcpi.add(serverId),
    memory: {
      write: async (serverId, letter) => inside(serverId).remember(serverId, letter),
      read: async (serverId) => inside(serverId).recall(serverId),
    },
    disk: {
      write: async (serverId, disk, letter) => inside(serverId).write(serverId, disk, letter),
      read: async (serverId, disk) => inside(serverId).read(serverId, disk),
    },
  },
  tellsHostname: async (serverId) => machine.guest(serverId)!.name,
  firstConsoleText: /fake guest .*: power on/,
  configDriveFiles: async (serverId) => [...machine.guest(serverId)!.configDrive],
  foreignGuest: somebodyElse,
  makeUnreachable: async () => {
    machine.unreachable = true;
    return async () => {
      machine.unreachable = false;
    };
  },
  stopHypervisor: async () => {
    machine.unreachable = true;
    return async () => {
      machine.unreachable = false;
    };
  },
  // More than any change makes.
  crashMoments: [0, 1],
  crashDuring: async (change, serverId, moment, devices) => {
    let begun = 0;
    const mortal: FakeHypervisor = Object.create(machine, {
      work: {
        value: (...call: Parameters<FakeHypervisor['work']>) => {
          if (begun++ === moment) throw new HypervisorError('unavailable', 'the agent has ended');
          return machine.work(...call);
        },
      },
    });
    return perform(new FakeDriver(mortal, { cloudId }), change, testGuest(serverId, cloudId), devices).then(
      () => false,
      () => true,
    );
  },
  disk: async () => {
    const path = `/volumes/${++made}`;
    machine.volumes.set(path, { letter: '-', size: 1 << 20 });
    return {
      disk: fileDisk(path, `volume-${made}`),
      exists: async () => machine.volumes.has(path),
      remove: async () => void machine.volumes.delete(path),
    };
  },
  nic: async () => tapNic(randomUUID(), `tap-${++made}`),
  passes: async (id, portId) => machine.guest(id)!.nics.some((nic) => nic.portId === portId && nic.passes !== false),
  letterOf: async (file) => String.fromCharCode(readFileSync(file)[LETTER_AT]!),
  otherHost: {
    open: async () => new FakeDriver(other, { cloudId }),
    spec: (spec) => spec,
    leftovers: leftovers(other),
    shared: async () => ({ here: await openDriver(), there: new FakeDriver(other, { cloudId }) }),
  },
  adoptable: somebodyElse,
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
