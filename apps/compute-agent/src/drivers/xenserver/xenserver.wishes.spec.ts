import { gib, ms, type ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import type { GuestSpec } from '../hypervisor-driver.js';
import { STATE_KEY } from './operations/guest-state.js';
import { cutCalls } from './testing/cut-calls.js';
import { never, newId, Pools } from './testing/pools.js';

const pools = new Pools();
type Map = Readonly<Record<string, string>>;

const withWishes = (spec: GuestSpec, properties: Map, extraSpecs: Map = {}, vcpus = 4): GuestSpec => ({
  ...spec,
  image: { ...spec.image, properties: { hw_vm_mode: 'hvm', ...properties } },
  flavor: { ...spec.flavor, vcpus, extraSpecs },
});
const spawned = async (properties: Map, extraSpecs: Map = {}) => {
  const driver = pools.drive();
  const spec = withWishes(pools.first.guest(newId()), properties, extraSpecs);
  await driver.spawn(spec, never);
  const { serverId: id } = spec.mark;
  const off = () => driver.powerOff(id, ms(0));
  /** To another flavor, off. */
  const resize = async (flavor: Map, vcpus = 4) => {
    await off();
    await driver.resizing.resize(id, { ...spec.flavor, disk: gib(0), vcpus, extraSpecs: flavor }, never);
  };
  return { driver, spec, id, off, resize };
};
/** What the wishes made of its VM. */
const shapeOf = (id: ServerId) => {
  const { domain_type, HVM_boot_params, PV_bootloader, platform, VCPUs_max } = pools.recordOf(id);
  return { domain_type, firmware: HVM_boot_params.firmware, PV_bootloader, ...platform, VCPUs_max };
};
const keep = (id: ServerId, state: object) => {
  const { ref } = pools.first.vmOf(id);
  const { other_config } = pools.recordOf(id);
  pools.first.double.db.set('VM', ref, { other_config: { ...other_config, [STATE_KEY]: JSON.stringify(state) } });
};
/** Its state as an earlier release wrote it, which did not know of hardware. */
const age = (id: ServerId) => {
  const { wishes: _, hardware: __, rescueHardware: ___, ...older } = pools.stateOf(id);
  keep(id, older);
};
const UEFI = { hw_firmware_type: 'uefi' };
const SECURE = { 'os:secure_boot': 'required' };

describe('a rebuild', () => {
  it('makes what a spawn of the same image would', async () => {
    const { driver, spec, id } = await spawned({ hw_vif_model: 'e1000', hw_cpu_cores: '2' });
    expect(shapeOf(id)).toMatchObject({ firmware: 'bios', nic_type: 'e1000', 'cores-per-socket': '2', vga: 'std' });
    const wanted = { ...UEFI, os_secure_boot: 'required', hw_video_model: 'cirrus', os_type: 'windows' };
    const mark = { ...spec.mark, build: 1 };
    await driver.rebuilding.rebuild({ ...withWishes(spec, wanted), mark }, never);
    const rebuilt = shapeOf(id);
    expect(rebuilt).toMatchObject({ firmware: 'uefi', secureboot: 'true', vga: 'cirrus', viridian: 'true' });
    expect([rebuilt.nic_type, rebuilt['cores-per-socket']]).toEqual([undefined, undefined]);
    const other = withWishes(pools.first.guest(newId()), wanted);
    await driver.spawn(other, never);
    expect(rebuilt).toEqual(shapeOf(other.mark.serverId));
    for (const each of [id, other.mark.serverId]) await driver.destroy(each);
  });

  it('goes from one type of domain to another, and back', async () => {
    const { driver, spec, id } = await spawned({ hw_vm_mode: 'xen' });
    expect(shapeOf(id)).toMatchObject({ domain_type: 'pv', PV_bootloader: 'pygrub' });
    for (const [build, mode, domain, loader] of [
      [1, 'hvm', 'hvm', ''],
      [2, 'pvh', 'pvh', 'pygrub'],
    ] as const) {
      const mark = { ...spec.mark, build };
      await driver.rebuilding.rebuild({ ...withWishes(spec, { hw_vm_mode: mode }), mark }, never);
      expect(shapeOf(id)).toMatchObject({ domain_type: domain, PV_bootloader: loader });
      expect(await driver.inspect(id)).toMatchObject({ power: 'running' });
    }
    expect(pools.recordOf(id).HVM_boot_params.order).toBe('c');
    await driver.destroy(id);
  });

  it('that is cut off anywhere is ended by the next', async () => {
    for (let calls = 0, cut = true; cut; calls++) {
      const { driver, id, spec } = await spawned(UEFI);
      const next = { ...withWishes(spec, { hw_vm_mode: 'xen' }), mark: { ...spec.mark, build: 1 } };
      const cutting = cutCalls(pools.first, calls);
      await driver.rebuilding.rebuild(next, never).catch(() => undefined);
      cutting.mend();
      await driver.rebuilding.rebuild(next, never);
      expect([calls, shapeOf(id)]).toMatchObject([calls, { domain_type: 'pv', PV_bootloader: 'pygrub' }]);
      expect(await driver.inspect(id)).toMatchObject({ power: 'running', mark: { build: 1 } });
      await driver.destroy(id);
      cut = cutting.happened();
    }
  });
});

describe('a resize', () => {
  it('lays the CPUs out as image and new flavor say, and its revert as before', async () => {
    const { driver, id, spec, off, resize } = await spawned({ hw_cpu_cores: '2' });
    await resize({}, 6);
    expect(shapeOf(id)).toMatchObject({ VCPUs_max: 6, 'cores-per-socket': '2' });
    await driver.powerOn(id, spec.nics);
    await off();
    await driver.resizing.revertResize(id);
    await resize({ 'hw:cpu_cores': '3' }, 3);
    expect(shapeOf(id)).toMatchObject({ VCPUs_max: 3, 'cores-per-socket': '3' });
    await driver.powerOn(id, spec.nics);
    await off();
    await driver.resizing.revertResize(id);
    expect(shapeOf(id)).toMatchObject({ VCPUs_max: 4, 'cores-per-socket': '2' });
    await driver.destroy(id);
  });

  it('is refused where the CPUs do not fit the image, and the guest is as before', async () => {
    const { driver, id, resize } = await spawned({ hw_cpu_cores: '2' });
    const before = [shapeOf(id), pools.stateOf(id)];
    await expect(resize({}, 3)).rejects.toMatchObject({ code: 'unsupported' });
    expect([shapeOf(id), pools.stateOf(id)]).toEqual(before);
    await driver.destroy(id);
  });

  it('tells flavors of one size apart', async () => {
    const { driver, id, spec, resize } = await spawned({});
    const specs = { 'hw:cpu_sockets': '2', 'hw:cpu_cores': '2' };
    await resize(specs);
    await resize(Object.fromEntries(Object.entries(specs).reverse()));
    for (const other of [{}, { ...specs, 'hw:cpu_sockets': '1', 'hw:cpu_cores': '4' }])
      await expect(resize(other)).rejects.toMatchObject({ code: 'fault' });
    // As an older release wrote it.
    const { before, ...state } = pools.stateOf(id);
    const { memory, ephemeral, swap } = spec.flavor;
    const flavor = JSON.stringify([4, memory, 0, ephemeral, swap]);
    keep(id, { ...state, before: { size: before!.size, disks: before!.disks, flavor } });
    await resize(specs);
    await driver.resizing.revertResize(id);
    expect(await driver.inspect(id)).toMatchObject({ stage: 'settled' });
    await driver.destroy(id);
  });

  it('is looked at as it would be done', async () => {
    const { driver, id, spec, off, resize } = await spawned({});
    const look = (extraSpecs: Map) => driver.resizing.checkResize(id, { ...spec.flavor, disk: gib(0), extraSpecs });
    await look({ 'hw:cpu_cores': '2' });
    await driver.rescuing.rescue(withWishes(spec, {}), never);
    await expect(look({})).rejects.toMatchObject({ code: 'fault', message: expect.stringContaining('rescued') });
    expect(await driver.inspect(id)).toMatchObject({ stage: 'rescued', power: 'running' });
    await driver.rescuing.unrescue(id, spec.nics);
    await off();
    await resize({});
    await look({});
    await expect(look({ 'hw:cpu_cores': '2' })).rejects.toMatchObject({
      code: 'fault',
      message: expect.stringContaining('resized'),
    });
    await driver.resizing.confirmResize(id);
    await driver.destroy(id);
  });

  it('switches secure boot, but does not change the firmware', async () => {
    const { driver, id, resize } = await spawned(UEFI);
    await resize(SECURE);
    expect(shapeOf(id)).toMatchObject({ firmware: 'uefi', secureboot: 'true' });
    await expect(resize({})).rejects.toMatchObject({ code: 'fault' });
    await driver.resizing.confirmResize(id);
    await resize({});
    expect(shapeOf(id).secureboot).toBeUndefined();
    await driver.resizing.revertResize(id);
    expect(shapeOf(id).secureboot).toBe('true');
    await driver.destroy(id);

    const other = await spawned({});
    await expect(other.resize(SECURE)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('firmware'),
    });
    expect(shapeOf(other.id)).toMatchObject({ firmware: 'bios' });
    await other.driver.destroy(other.id);
  });

  it('that is cut off anywhere is ended by the next, and so is its revert', async () => {
    for (let calls = 0, cut = true; cut; calls++) {
      const { driver, id, spec, off, resize } = await spawned({ hw_cpu_cores: '4' });
      await off();
      const first = cutCalls(pools.first, calls);
      await resize({ 'hw:cpu_cores': '3' }, 6).catch(() => undefined);
      first.mend();
      await resize({ 'hw:cpu_cores': '3' }, 6);
      expect(shapeOf(id)).toMatchObject({ VCPUs_max: 6, 'cores-per-socket': '3' });
      const second = cutCalls(pools.first, calls);
      await driver.resizing.revertResize(id).catch(() => undefined);
      second.mend();
      await driver.resizing.revertResize(id);
      await driver.powerOn(id, spec.nics);
      expect(shapeOf(id)).toMatchObject({ VCPUs_max: 4, 'cores-per-socket': '4' });
      await driver.destroy(id);
      cut = first.happened() || second.happened();
    }
  });
});

describe('a rescue', () => {
  it('has what its image asks for, as long as it lasts', async () => {
    const { driver, id, spec } = await spawned({ ...UEFI, hw_vif_model: 'e1000' });
    const own = shapeOf(id);
    await driver.rescuing.rescue(withWishes(spec, {}), never);
    expect(shapeOf(id)).toEqual(own);
    await driver.rescuing.unrescue(id, spec.nics);
    await driver.rescuing.rescue(withWishes(spec, { hw_firmware_type: 'bios', hw_vif_model: 'rtl8139' }), never);
    expect(shapeOf(id)).toMatchObject({ firmware: 'bios', nic_type: 'rtl8139' });
    await driver.rescuing.unrescue(id, spec.nics);
    expect(shapeOf(id)).toEqual(own);
    await driver.destroy(id);
  });

  it('that cannot be started leaves the guest as it was, and off', async () => {
    const { driver, id, spec } = await spawned({});
    const own = shapeOf(id);
    const { faults } = pools.first.double;
    const disks = () => pools.first.disksOf(id).map(({ uuid }) => uuid);
    const kept = disks();
    const rescue = (signal = never) => driver.rescuing.rescue(withWishes(spec, UEFI), signal);
    const isAsBefore = async () => {
      expect(await driver.inspect(id)).toMatchObject({ stage: 'settled', power: 'shutdown' });
      expect(pools.stateOf(id)).toMatchObject({ rescue: null, rescueHardware: null, start: null });
      expect([shapeOf(id), disks()]).toEqual([own, kept]);
      await driver.powerOn(id, spec.nics);
    };
    const failStart = (...error: [string, ...string[]]) => faults.add({ method: 'VM.start_on', error, times: 1 });

    failStart('HOST_NOT_ENOUGH_FREE_MEMORY', '1', '0');
    await expect(rescue()).rejects.toMatchObject({ code: 'noResources' });
    await isAsBefore();
    // What may be done the next time goes on.
    failStart('OTHER_OPERATION_IN_PROGRESS', 'VM', pools.first.vmOf(id).ref);
    await expect(rescue()).rejects.toMatchObject({ code: 'unavailable' });
    expect(await driver.inspect(id)).toMatchObject({ stage: 'rescued', power: 'shutdown' });
    failStart('HOST_NOT_ENOUGH_FREE_MEMORY', '1', '0');
    await expect(rescue()).rejects.toMatchObject({ code: 'noResources' });
    await isAsBefore();

    const abort = new AbortController();
    const { before } = faults;
    faults.before = async (method: string, params: unknown[]) => {
      if (/hard_shutdown/.test(method)) abort.abort();
      return before.call(faults, method, params);
    };
    await expect(rescue(abort.signal)).rejects.toMatchObject({ code: 'fault' });
    faults.before = before;
    await isAsBefore();
    await driver.destroy(id);
  });
});

describe('a guest whose wishes are not known', () => {
  it('keeps what it has, but for what a new flavor asks for', async () => {
    const { driver, id, spec, off, resize } = await spawned({ ...UEFI, hw_vif_model: 'e1000', hw_cpu_cores: '2' });
    age(id);
    const own = shapeOf(id);
    await resize({}, 3);
    const { 'cores-per-socket': cores, ...kept } = own;
    // Three CPUs do not make sockets of two.
    expect([cores, shapeOf(id)]).toEqual(['2', { ...kept, VCPUs_max: 3 }]);
    await driver.powerOn(id, spec.nics);
    await off();
    await driver.resizing.revertResize(id);
    expect(shapeOf(id)).toEqual(own);
    await driver.destroy(id);
  });

  it('is what it was when a rescue is over', async () => {
    const { driver, id, spec } = await spawned({ hw_vif_model: 'e1000' });
    age(id);
    const own = shapeOf(id);
    await driver.rescuing.rescue(withWishes(spec, { ...UEFI, hw_vif_model: 'rtl8139' }), never);
    expect(shapeOf(id)).toMatchObject({ firmware: 'uefi', nic_type: 'rtl8139' });
    await driver.rescuing.unrescue(id, spec.nics);
    expect(shapeOf(id)).toEqual(own);
    await driver.destroy(id);
  });
});
