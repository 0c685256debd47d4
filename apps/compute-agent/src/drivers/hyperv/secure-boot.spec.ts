import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { operationFailed } from '../../../../../tools/doubles/hyperv/errors.mjs';
import { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { rootFrom, testGuest } from '../common/test-guest.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import { HyperVDriver } from './hyperv.driver.js';
import { readMark, writeMark } from './mark.js';
import { Images, InProcess, machineOf } from './testing/double.js';

type Said = Record<string, string>;

const cloudId = 'test-cloud';
const never = new AbortController().signal;
const REQUIRED = { 'os:secure_boot': 'required' };
const ON = { secureBoot: 'On', template: 'MicrosoftUEFICertificateAuthority' };
const WINDOWS = { secureBoot: 'On', template: 'MicrosoftWindows' };
const OFF = { secureBoot: 'Off' };
const unsupported = { code: 'unsupported' };
const images = new Images();
beforeAll(() => images.open());
afterAll(() => images.close());

let dir: string;
let host: HyperVHost;
let driver: HyperVDriver;
let closing: { close(): Promise<void> }[];

const migration = (peer: string) => ({
  enabled: true,
  authentication: 'Kerberos',
  delegatesTo: [`Microsoft Virtual System Migration Service/${peer}`],
});
const hostNamed = async (name: string, peer: string): Promise<HyperVHost> => {
  const made = await new HyperVHost(join(dir, name), { facts: { name, migration: migration(peer) } }).open();
  closing.push(made);
  return made;
};
const driverOver = (over: HyperVHost, generation: 1 | 2 = 2) => {
  const nodes = [{ name: over.facts.name, open: new InProcess(over).open, answerTimeout: 1_000 }];
  const switches = { physnet1: 'External' };
  const made = new HyperVDriver({ cloudId, nodes, switches, generation, dynamicMemoryRatio: 1 });
  closing.unshift(made);
  return made;
};
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'hyperv-secure-boot-'));
  closing = [];
  host = await hostNamed('HV1', 'HV2');
  driver = driverOver(host);
});
afterEach(async () => {
  for (const each of closing) await each.close();
  rmSync(dir, { recursive: true });
});

const guest = (properties: Said = {}, extraSpecs: Said = {}): GuestSpec & { id: ServerId } => {
  const id = ServerId.parse(randomUUID());
  const spec = testGuest(id, cloudId, { disks: rootFrom(images.record(64 << 20)), powerOn: false });
  return {
    ...spec,
    id,
    flavor: { ...spec.flavor, memory: mib(64), extraSpecs },
    image: { ...spec.image, properties },
  };
};
const spawned = async (properties: Said = {}, extraSpecs: Said = {}) => {
  const spec = guest(properties, extraSpecs);
  await driver.spawn(spec, never);
  return spec;
};
const other = ({ flavor }: GuestSpec, extraSpecs: Said) => ({ ...flavor, vcpus: 2, extraSpecs });
/** What another image than its own makes of a guest that is rescued. */
const rescueOf = (spec: GuestSpec, properties: Said): GuestSpec => ({
  ...spec,
  image: { ...spec.image, properties },
  disks: rootFrom(images.record(65 << 20)),
});
const firmware = ({ mark }: GuestSpec) => machineOf(host, mark.serverId).firmware;
const changes = () => host.calls.filter(({ given }) => given.EnableSecureBoot !== undefined);
/** As an older release wrote it. */
const forgetWishes = ({ mark }: GuestSpec) => {
  const vm = machineOf(host, mark.serverId);
  const { wishes: _, rescueWishes: __, ...older } = readMark(vm.Notes)!;
  vm.Notes = writeMark(older as never, null);
};

describe('secure boot of a guest that is resized', () => {
  it('comes with a flavor that requires it, and is as before after a revert', async () => {
    const spec = await spawned();
    expect(firmware(spec)).toMatchObject(OFF);
    await driver.resizing.resize(spec.id, other(spec, REQUIRED), never);
    expect(firmware(spec)).toMatchObject(ON);
    await driver.resizing.revertResize(spec.id);
    expect(firmware(spec)).toMatchObject(OFF);
  });

  it('stays once the resize is confirmed, until a flavor does not ask for it', async () => {
    const spec = await spawned({ os_type: 'windows' });
    await driver.resizing.resize(spec.id, other(spec, REQUIRED), never);
    await driver.resizing.confirmResize(spec.id);
    expect(firmware(spec)).toMatchObject(WINDOWS);
    await driver.resizing.resize(spec.id, spec.flavor, never);
    expect(firmware(spec)).toMatchObject(OFF);
    await driver.resizing.revertResize(spec.id);
    expect(firmware(spec)).toMatchObject(WINDOWS);
  });

  it('is what was asked for also when the agent ended in the middle', async () => {
    const spec = await spawned();
    const vm = machineOf(host, spec.id);
    await driver.resizing.resize(spec.id, other(spec, REQUIRED), never);
    vm.firmware.secureBoot = 'Off';
    await driver.resizing.resize(spec.id, other(spec, REQUIRED), never);
    expect(firmware(spec)).toMatchObject(ON);
    await expect(driver.resizing.resize(spec.id, other(spec, {}), never)).rejects.toMatchObject({ code: 'fault' });
    const resized = vm.Notes;
    await driver.resizing.revertResize(spec.id);
    vm.Notes = resized;
    await driver.resizing.revertResize(spec.id);
    expect(firmware(spec)).toMatchObject(OFF);
  });

  it('is as before when the resize fails', async () => {
    const spec = await spawned();
    host.failNext('Add-VMHardDiskDrive', operationFailed('failed on purpose'));
    await expect(driver.resizing.resize(spec.id, other(spec, REQUIRED), never)).rejects.toMatchObject({
      code: 'fault',
    });
    expect(firmware(spec)).toMatchObject(OFF);
    await driver.resizing.resize(spec.id, other(spec, REQUIRED), never);
    expect(firmware(spec)).toMatchObject(ON);
  });

  it('stays as the guest has it where both flavors ask for the same', async () => {
    const spec = await spawned({ os_secure_boot: 'required' });
    firmware(spec).template = 'OpenSourceShieldedVM';
    host.calls.length = 0;
    await driver.resizing.resize(spec.id, other(spec, REQUIRED), never);
    await driver.resizing.revertResize(spec.id);
    expect(changes()).toEqual([]);
  });

  it('is refused to a guest of generation 1, which is not touched', async () => {
    const old = driverOver(host, 1);
    const spec = { ...guest(), disks: rootFrom(images.record(64 << 20, 'vhd')) };
    await old.spawn(spec, never);
    const before = structuredClone(machineOf(host, spec.id));
    await expect(old.resizing.resize(spec.id, other(spec, REQUIRED), never)).rejects.toMatchObject({
      ...unsupported,
      message: expect.stringContaining('firmware'),
    });
    expect(machineOf(host, spec.id)).toEqual(before);
  });

  it('is refused where it is not known what the guest has, until that is rebuilt', async () => {
    const spec = await spawned();
    forgetWishes(spec);
    const before = structuredClone(machineOf(host, spec.id));
    await expect(driver.resizing.resize(spec.id, other(spec, REQUIRED), never)).rejects.toMatchObject(unsupported);
    expect(machineOf(host, spec.id)).toEqual(before);
    host.calls.length = 0;
    await driver.resizing.resize(spec.id, other(spec, {}), never);
    await driver.resizing.revertResize(spec.id);
    expect(changes()).toEqual([]);
    await driver.rebuilding.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);
    await driver.resizing.resize(spec.id, other(spec, REQUIRED), never);
    expect(firmware(spec)).toMatchObject(ON);
  });

  it('does not count where an older release began the resize', async () => {
    const spec = await spawned();
    await driver.resizing.resize(spec.id, other(spec, {}), never);
    forgetWishes(spec);
    host.calls.length = 0;
    await driver.resizing.resize(spec.id, other(spec, REQUIRED), never);
    expect(changes()).toEqual([]);
    const larger = { ...other(spec, REQUIRED), vcpus: 3 };
    await expect(driver.resizing.resize(spec.id, larger, never)).rejects.toMatchObject({ code: 'fault' });
  });

  it('is as the log has ordered it where the guest has moved to', async () => {
    const target = await hostNamed('HV2', 'HV1');
    host.peers.set('HV2', target);
    const there = driverOver(target);
    for (const each of [driver, there]) await each.probe(AbortSignal.timeout(5_000));
    const moved = async (properties: Said, said: Said, isOlder = false) => {
      const spec = await spawned(properties);
      if (isOlder) forgetWishes(spec);
      await driver.powerOn(spec.id, []);
      const ordered = { ...spec, image: { ...spec.image, properties: said } };
      const offer = await driver.liveMigration!.offer(spec.id);
      const ticket = await there.liveMigration!.receive(ordered, offer, { disks: 'auto', attached: [] }, never);
      await driver.liveMigration!.send(spec.id, ticket, { signal: never });
      await there.liveMigration!.accept(spec.id);
      return readMark(machineOf(target, spec.id).Notes)!.wishes;
    };
    const said = { os_secure_boot: 'required' };
    expect(await moved({ os_type: 'windows' }, said)).toEqual({ properties: said, extraSpecs: {} });
    expect(await moved({}, {}, true)).toBeNull();
  });
});

describe('secure boot of a guest that is rescued', () => {
  const required = { os_secure_boot: 'required' };

  it('is what the rescue image requires, and its own after that', async () => {
    const spec = await spawned();
    const rescue = rescueOf(spec, required);
    await driver.rescuing.rescue(rescue, never);
    expect(firmware(spec)).toMatchObject(ON);
    await driver.powerOff(spec.id, ms(0));
    firmware(spec).secureBoot = 'Off';
    await driver.rescuing.rescue(rescue, never);
    expect(firmware(spec)).toMatchObject(ON);
    await driver.rescuing.unrescue(spec.id, []);
    expect(firmware(spec)).toMatchObject(OFF);
  });

  it('is of the template that the rescue image needs, and off for one that says so', async () => {
    const spec = await spawned({ os_secure_boot: 'required', os_type: 'windows' });
    for (const [properties, expected] of [
      [{ os_type: 'linux' }, ON],
      [{ os_secure_boot: 'disabled' }, OFF],
    ] as const) {
      await driver.rescuing.rescue(rescueOf(spec, { ...properties, hw_firmware_type: 'uefi' }), never);
      expect(firmware(spec)).toMatchObject(expected);
      await driver.rescuing.unrescue(spec.id, []);
      expect(firmware(spec)).toMatchObject(WINDOWS);
      await driver.powerOff(spec.id, ms(0));
    }
  });

  it('stays with its own image, and with one that says nothing', async () => {
    const spec = await spawned(required, REQUIRED);
    host.calls.length = 0;
    for (const rescue of [spec, rescueOf(spec, {})]) {
      await driver.rescuing.rescue(rescue, never);
      await driver.rescuing.unrescue(spec.id, []);
    }
    expect(changes()).toEqual([]);
  });

  it('is as before when the rescue fails', async () => {
    const spec = await spawned();
    host.failNext('Start-VM', operationFailed('failed on purpose'));
    await expect(driver.rescuing.rescue(rescueOf(spec, required), never)).rejects.toMatchObject({ code: 'fault' });
    expect(firmware(spec)).toMatchObject(OFF);
    expect(await driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'shutdown' });
  });

  it('is its own where it is not known what that is, and another image that requires it is refused', async () => {
    const spec = await spawned(required);
    forgetWishes(spec);
    const before = structuredClone(machineOf(host, spec.id));
    await expect(driver.rescuing.rescue(rescueOf(spec, required), never)).rejects.toMatchObject(unsupported);
    expect(machineOf(host, spec.id)).toEqual(before);
    await driver.rescuing.rescue(spec, never);
    await driver.rescuing.unrescue(spec.id, []);
    expect(firmware(spec)).toMatchObject(ON);
  });
});
