import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestPool } from '../testing/pool.js';

const MIB = 2 ** 20;
let pool: TestPool;
let disk: string;
beforeAll(async () => {
  pool = await TestPool.start({ addresses: ['127.0.0.1', '127.0.0.2'], shutdownPatience: 40 });
  disk = await pool.vdi();
});
afterAll(() => pool.stop());

const withDisk = async (change: Record<string, unknown> = {}) => {
  const vm = await pool.vm(change);
  const vdi = await pool.vdi();
  return { vm, vdi, vbd: await pool.vbd(vm, vdi) };
};
const running = async (change: Record<string, unknown> = {}) => {
  const made = await withDisk(change);
  await pool.call('VM.start', made.vm, false, false);
  return { ...made, uuid: await pool.call<string>('VM.get_uuid', made.vm) };
};
const power = (vm: string) => pool.call<string>('VM.get_power_state', vm);
const remove = async ({ vm, vdi }: { vm: string; vdi: string }) => {
  if ((await power(vm)) !== 'Halted') await pool.call('VM.hard_shutdown', vm);
  await pool.call('VM.destroy', vm);
  await pool.call('VDI.destroy', vdi);
};

describe('power', () => {
  it('of a guest without tools is only cut, until it has some', async () => {
    const bare = await TestPool.start({ guestTools: false });
    const vm = await bare.vm();
    await bare.call('VM.start', vm, false, false);
    for (const [method, ...args] of [['clean_shutdown'], ['clean_reboot'], ['suspend']] as const)
      expect(await bare.refusal(`VM.${method}`, vm, ...args)).toEqual(['VM_LACKS_FEATURE', vm]);
    bare.double.reportGuest(await bare.call('VM.get_uuid', vm), { PV_drivers_detected: true });
    await bare.call('VM.clean_shutdown', vm);
    expect(await bare.call('VM.get_power_state', vm)).toBe('Halted');
    await bare.stop();
  });

  it('goes the way the data model allows, and says what it expected', async () => {
    const made = await withDisk();
    const { vm } = made;
    expect(await pool.refusal('VM.pause', vm)).toEqual(['VM_BAD_POWER_STATE', vm, 'running', 'halted']);
    expect(await pool.refusal('VM.hard_shutdown', vm)).toEqual([
      ...['VM_BAD_POWER_STATE', vm, 'paused, suspended, running', 'halted'],
    ]);
    await pool.call('VM.start', vm, false, false);
    expect(await pool.refusal('VM.start', vm, false, false)).toEqual(['VM_BAD_POWER_STATE', vm, 'halted', 'running']);
    await pool.call('VM.pause', vm);
    expect(await power(vm)).toBe('Paused');
    await pool.call('VM.unpause', vm);
    await pool.call('VM.suspend', vm);
    expect(await pool.call('VM.get_record', vm)).toMatchObject({
      power_state: 'Suspended',
      resident_on: 'OpaqueRef:NULL',
      suspend_VDI: expect.stringMatching(/^OpaqueRef:(?!NULL)/),
    });
    await pool.call('VM.resume', vm, false, false);
    await pool.call('VM.clean_reboot', vm);
    await pool.call('VM.clean_shutdown', vm);
    expect(await power(vm)).toBe('Halted');
    expect(await pool.call('VDI.get_all')).toHaveLength(2);
    await remove(made);
  });

  it('shows where it runs, its devices attached, its consoles and what its tools say', async () => {
    const made = await withDisk({ HVM_boot_policy: '', PV_bootloader: 'pygrub' });
    await pool.vif(made.vm, { ipv4_allowed: ['10.0.0.7'], locking_mode: 'locked' });
    await pool.call('VM.start', made.vm, false, false);
    const record = await pool.call('VM.get_record', made.vm);
    expect(record).toMatchObject({ power_state: 'Running', domain_type: 'pv', domid: expect.any(Number) });
    expect(await pool.call('host.get_resident_VMs', record.resident_on)).toContain(made.vm);
    expect(await pool.call('VBD.get_record', made.vbd)).toMatchObject({ currently_attached: true, device: 'xvda' });
    const consoles = await Promise.all(record.consoles.map((c: string) => pool.call('console.get_record', c)));
    expect(consoles.map((c) => c.protocol)).toEqual(['rfb', 'vt100']);
    expect(consoles[0].location).toMatch(/^http:\/\/127\.0\.0\.[12]\/console\?uuid=/);
    expect(await pool.call('VM_guest_metrics.get_record', record.guest_metrics)).toMatchObject({
      PV_drivers_detected: true,
      networks: { '0/ip': '10.0.0.7' },
    });
    expect(await pool.call('VM_metrics.get_record', record.metrics)).toMatchObject({ memory_actual: 256 * MIB });
    await remove(made);
  });

  it('lists what may be done now', async () => {
    const made = await withDisk();
    const allowed = () => pool.call<string[]>('VM.get_allowed_operations', made.vm);
    expect(await allowed()).toEqual(expect.arrayContaining(['start', 'destroy', 'changing_VCPUs']));
    expect(await allowed()).not.toContain('pause');
    await pool.call('VM.start', made.vm, false, false);
    expect(await allowed()).toEqual(expect.arrayContaining(['pause', 'clean_shutdown', 'pool_migrate', 'hard_reboot']));
    await remove(made);
  });

  it('is not changed by two at once, but a hard stop ends a clean one', async () => {
    const made = await running();
    pool.double.ignorePowerButton(made.uuid);
    pool.double.settings.shutdownPatience = 10_000;
    const task = await pool.call('Async.VM.clean_shutdown', made.vm);
    await expect
      .poll(async () => Object.values(await pool.call('VM.get_current_operations', made.vm)))
      .toEqual(['clean_shutdown']);
    expect(await pool.refusal('VM.pause', made.vm)).toEqual([
      ...['OTHER_OPERATION_IN_PROGRESS', 'VM', made.vm, 'clean_shutdown', task],
    ]);
    await pool.call('VM.hard_shutdown', made.vm);
    expect(await pool.settled(task)).toMatchObject({ status: 'cancelled', error_info: ['TASK_CANCELLED', task] });
    pool.double.settings.shutdownPatience = 40;
    await remove(made);
  });

  it('stays on when the guest ignores a clean shutdown', async () => {
    const made = await running();
    pool.double.ignorePowerButton(made.uuid);
    expect(await pool.refusal('VM.clean_shutdown', made.vm)).toEqual(['VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT', made.vm]);
    expect(await power(made.vm)).toBe('Running');
    await remove(made);
  });

  it('follows the guest as the VM is set to', async () => {
    const made = await running();
    const domid = () => pool.call('VM.get_domid', made.vm);
    const before = await domid();
    pool.double.stopFromInside(made.uuid, 'reboot');
    await expect.poll(domid).not.toBe(before);
    expect(await power(made.vm)).toBe('Running');
    pool.double.stopFromInside(made.uuid, 'shutdown');
    await expect.poll(() => power(made.vm)).toBe('Halted');
    await remove(made);
  });

  it('may be blocked by an operator', async () => {
    const made = await withDisk();
    await pool.call('VM.add_to_blocked_operations', made.vm, 'start', 'not on Fridays');
    expect(await pool.refusal('VM.start', made.vm, false, false)).toEqual([
      'OPERATION_BLOCKED',
      made.vm,
      'not on Fridays',
    ]);
    await remove(made);
  });

  it('needs a boot loader that is there, for a paravirtual guest', async () => {
    const made = await withDisk({ HVM_boot_policy: '', PV_bootloader: 'lilo' });
    expect(await pool.refusal('VM.start', made.vm, false, false)).toEqual(['UNKNOWN_BOOTLOADER', made.vm, 'lilo']);
    await remove(made);
    const bare = await pool.vm({ HVM_boot_policy: '', PV_bootloader: 'pygrub' });
    expect((await pool.refusal('VM.start', bare, false, false))[0]).toBe('BOOTLOADER_FAILED');
    await pool.call('VM.destroy', bare);
  });
});

describe('placing', () => {
  it('refuses what no member can carry', async () => {
    const memory = 2 ** 40;
    const made = await withDisk({
      ...{
        memory_static_max: memory,
        memory_dynamic_max: memory,
        memory_dynamic_min: memory,
        memory_static_min: memory,
      },
    });
    expect(await pool.refusal('VM.start', made.vm, false, false)).toEqual(['NO_HOSTS_AVAILABLE']);
    const refusal = await pool.refusal('VM.start_on', made.vm, pool.double.host(0), false, false);
    expect(refusal.slice(0, 2)).toEqual(['HOST_NOT_ENOUGH_FREE_MEMORY', String(memory + 9 * MIB)]);
    await remove(made);
  });

  it('leaves out members that are disabled or do not see the storage', async () => {
    const made = await running();
    const host = await pool.call('VM.get_resident_on', made.vm);
    const other = pool.double.host(0) === host ? pool.double.host(1) : pool.double.host(0);
    await pool.call('host.disable', other);
    expect(await pool.refusal('VM.pool_migrate', made.vm, other, {})).toEqual(['HOST_DISABLED', other]);
    await pool.call('host.enable', other);
    await pool.call('VM.pool_migrate', made.vm, other, {});
    expect(await pool.call('VM.get_resident_on', made.vm)).toBe(other);
    await remove(made);

    const [local] = await pool.call<string[]>('SR.get_by_name_label', 'Local storage');
    const vdi = await pool.vdi(4 << 20, 'Local storage');
    const vm = await pool.vm();
    await pool.vbd(vm, vdi);
    expect(await pool.call('VM.get_possible_hosts', vm)).toEqual([pool.double.host(0)]);
    expect(await pool.refusal('VM.start_on', vm, pool.double.host(1), false, false)).toEqual([
      'VM_REQUIRES_SR',
      vm,
      local,
    ]);
    await remove({ vm, vdi });
  });

  it('empties a member, unless a VM has no other place', async () => {
    const [one, two] = [await running(), await running()];
    const [first, second] = [pool.double.host(0), pool.double.host(1)];
    await pool.call('host.disable', first);
    await pool.call('host.evacuate', first);
    for (const { vm } of [one, two]) expect(await pool.call('VM.get_resident_on', vm)).toBe(second);
    expect((await pool.refusal('host.evacuate', second))[0]).toBe('NO_HOSTS_AVAILABLE');
    await pool.call('host.enable', first);
    for (const made of [one, two]) await remove(made);
  });
});

describe('a definition', () => {
  it('is changed while the VM is off only', async () => {
    const made = await running();
    const { vm } = made;
    const limits = [64, 256, 256, 256].map((m) => m * MIB);
    expect((await pool.refusal('VM.set_memory_limits', vm, ...limits))[0]).toBe('VM_BAD_POWER_STATE');
    expect((await pool.refusal('VM.set_VCPUs_max', vm, 4))[0]).toBe('VM_BAD_POWER_STATE');
    expect((await pool.refusal('VM.destroy', vm))[0]).toBe('VM_BAD_POWER_STATE');
    await pool.call('VM.hard_shutdown', vm);
    expect(await pool.refusal('VM.set_memory_limits', vm, 512 * MIB, 256 * MIB, 256 * MIB, 256 * MIB)).toEqual([
      'MEMORY_CONSTRAINT_VIOLATION_ORDER',
    ]);
    expect((await pool.refusal('VM.set_VCPUs_at_startup', vm, 2))[0]).toBe('VALUE_NOT_SUPPORTED');
    await pool.call('VM.set_VCPUs_max', vm, 2);
    await pool.call('VM.set_VCPUs_at_startup', vm, 2);
    await remove(made);
  });

  it('has vCPUs that make whole sockets when it starts', async () => {
    const made = await withDisk({ VCPUs_max: 3, VCPUs_at_startup: 3, platform: { 'cores-per-socket': '2' } });
    const refused = ['INVALID_VALUE', 'platform:cores-per-socket', 'VCPUs_max must be a multiple of this field'];
    expect(await pool.refusal('VM.start', made.vm, false, false)).toEqual(refused);
    await pool.call('VM.set_VCPUs_max', made.vm, 4);
    await pool.call('VM.start', made.vm, false, false);
    await remove(made);
  });

  it('of another type of domain has the older field as that', async () => {
    const made = await withDisk();
    await pool.call('VM.set_domain_type', made.vm, 'pvh');
    expect(await pool.call('VM.get_record', made.vm)).toMatchObject({ domain_type: 'pvh', HVM_boot_policy: '' });
    await remove(made);
  });

  it('of a template or a control domain is left alone', async () => {
    const template = await pool.one('VM', 'Other install media');
    expect(await pool.refusal('VM.start', template, false, false)).toEqual(['VM_IS_TEMPLATE', template, 'start']);
    expect(await pool.refusal('VM.destroy', template)).toEqual(['VM_IS_TEMPLATE', template, 'destroy']);
    const dom0 = await pool.one('VM', 'Control domain on host: xs1');
    expect((await pool.refusal('VM.hard_shutdown', dom0))[0]).toBe('OPERATION_NOT_ALLOWED');
  });
});

describe('a disk', () => {
  it('has a whole number of blocks, and grows', async () => {
    const vdi = await pool.vdi(3 << 20);
    expect(await pool.call('VDI.get_virtual_size', vdi)).toBe(4 << 20);
    await pool.call('VDI.resize', vdi, 5 << 20);
    expect(await pool.call('VDI.get_virtual_size', vdi)).toBe(6 << 20);
    expect((await pool.refusal('VDI.resize', vdi, 2 << 20))[0]).toBe('SR_BACKEND_FAILURE_79');
    await pool.call('VDI.destroy', vdi);
    expect(await pool.refusal('VDI.get_record', vdi)).toEqual(['HANDLE_INVALID', 'VDI', vdi]);
  });

  it('in use is not destroyed or copied, but a snapshot can be taken', async () => {
    const made = await running();
    expect(await pool.refusal('VDI.destroy', made.vdi)).toEqual(['VDI_IN_USE', made.vdi, 'destroy']);
    const storage = await pool.call('VDI.get_SR', made.vdi);
    expect(await pool.refusal('VDI.copy', made.vdi, storage)).toEqual(['VDI_IN_USE', made.vdi, 'copy']);
    const snapshot = await pool.call('VDI.snapshot', made.vdi);
    expect(await pool.call('VDI.get_record', snapshot)).toMatchObject({ is_a_snapshot: true, snapshot_of: made.vdi });
    expect(await pool.call('VDI.get_snapshots', made.vdi)).toEqual([snapshot]);
    await pool.call('VDI.destroy', snapshot);
    await remove(made);
  });

  it('is written by one VM at a time', async () => {
    const made = await running();
    const other = await pool.vm();
    await pool.vbd(other, made.vdi);
    expect((await pool.refusal('VM.start', other, false, false))[0]).toBe('VDI_IN_USE');
    await pool.call('VM.destroy', other);
    await remove(made);
  });

  it('of thick storage is refused when the storage is full', async () => {
    const full = await TestPool.start({ storage: [{ name: 'LVM', type: 'lvm', gib: 1, shared: false }] });
    await full.vdi(2 ** 29, 'LVM');
    await expect(full.vdi(2 ** 30, 'LVM')).rejects.toThrow('SR_BACKEND_FAILURE_44');
    await expect(full.vdi(2 ** 41, 'LVM')).rejects.toThrow('SR_BACKEND_FAILURE_79');
    await full.stop();
  });
});

describe('devices', () => {
  it('of disks take a place of their own, and CDs are read only', async () => {
    const vm = await pool.vm();
    await pool.vbd(vm, disk, { userdevice: '3' });
    expect((await pool.call('VM.get_allowed_VBD_devices', vm)).slice(0, 4)).toEqual(['0', '1', '2', '4']);
    await expect(pool.vbd(vm, disk, { userdevice: '3' })).rejects.toThrow('DEVICE_ALREADY_EXISTS 3');
    await expect(pool.vbd(vm, disk, { userdevice: 'first' })).rejects.toThrow('INVALID_DEVICE first');
    await expect(pool.vbd(vm, disk, { type: 'CD' })).rejects.toThrow('VBD_CDS_MUST_BE_READONLY');
    await expect(pool.vbd(vm, disk, { empty: true })).rejects.toThrow('VBD_NOT_REMOVABLE_MEDIA');
    await pool.call('VM.destroy', vm);
  });

  it('are plugged and unplugged while a guest with drivers runs', async () => {
    const made = await running();
    const vbd = await pool.vbd(made.vm, disk, { bootable: false });
    expect((await pool.refusal('VBD.unplug', vbd))[0]).toBe('DEVICE_ALREADY_DETACHED');
    await pool.call('VBD.plug', vbd);
    expect(await pool.refusal('VBD.plug', vbd)).toEqual(['DEVICE_ALREADY_ATTACHED', vbd]);
    expect((await pool.refusal('VBD.destroy', vbd))[0]).toBe('OPERATION_NOT_ALLOWED');
    await pool.call('VBD.unplug', vbd);
    const vif = await pool.vif(made.vm);
    await pool.call('VIF.plug', vif);
    expect((await pool.refusal('VIF.destroy', vif))[0]).toBe('OPERATION_NOT_ALLOWED');
    await pool.call('VIF.unplug', vif);
    await pool.call('VIF.destroy', vif);
    pool.double.reportGuest(made.uuid, { PV_drivers_detected: false });
    expect(await pool.refusal('VBD.plug', vbd)).toEqual(['VM_MISSING_PV_DRIVERS', made.vm]);
    await remove(made);
  });

  it('of networks have a MAC, and the addresses they may use', async () => {
    const vm = await pool.vm();
    await expect(pool.vif(vm, { MAC: '1:2:3' })).rejects.toThrow('MAC_INVALID 1:2:3');
    const vif = await pool.vif(vm, { MAC: '', locking_mode: 'locked', ipv4_allowed: ['10.0.0.5'] });
    expect(await pool.call('VIF.get_record', vif)).toMatchObject({
      ...{ MAC_autogenerated: true, locking_mode: 'locked', ipv4_allowed: ['10.0.0.5'] },
      MAC: expect.stringMatching(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/),
    });
    expect(await pool.refusal('VIF.add_ipv4_allowed', vif, '10.0.0.0/24')).toEqual([
      ...['INVALID_IP_ADDRESS_SPECIFIED', 'ipv4_allowed'],
    ]);
    await pool.call('VIF.set_ipv6_allowed', vif, ['fd00::5']);
    await expect(pool.vif(vm)).rejects.toThrow('DEVICE_ALREADY_EXISTS 0');
    await pool.call('VM.destroy', vm);
  });

  it('of networks pass nothing while they are disabled, by themselves or by their network, whatever the guest does', async () => {
    const made = await running();
    const vif = await pool.vif(made.vm);
    await pool.call('VIF.plug', vif);
    pool.double.reportGuest(made.uuid, { PV_drivers_detected: false });
    const passes: boolean[] = [];
    const { network } = await pool.call('VIF.get_record', vif);
    for (const [call, ref, mode] of [
      ['VIF.set_locking_mode', vif, 'network_default'],
      ['network.set_default_locking_mode', network, 'disabled'],
      ['VIF.set_locking_mode', vif, 'unlocked'],
      ['network.set_default_locking_mode', network, 'unlocked'],
      ['VIF.set_locking_mode', vif, 'disabled'],
    ] as const) {
      await pool.call(call, ref, mode);
      passes.push(pool.double.isOpen(vif));
    }
    expect(passes).toEqual([true, false, true, true, false]);
    await remove(made);
  });

  it('are locked only with a licence for it', async () => {
    const free = await TestPool.start({ restrictions: ['VIF_locking'] });
    const vm = await free.vm();
    await expect(free.vif(vm, { locking_mode: 'locked' })).rejects.toThrow('LICENCE_RESTRICTION VIF_locking');
    await free.vif(vm, { locking_mode: 'unlocked' });
    await free.stop();
  });
});

describe('networks', () => {
  it('get an interface with the tag on every member', async () => {
    const network = await pool.call('network.create', { name_label: 'vlan 42', other_config: {} });
    const eth1 = await pool.one('network', 'Pool-wide network associated with eth1');
    const [pif] = await pool.call('network.get_PIFs', eth1);
    const made = await pool.call<string[]>('pool.create_VLAN_from_PIF', pif, network, 42);
    expect(made).toHaveLength(2);
    expect(await pool.call('PIF.get_record', made[0])).toMatchObject({ VLAN: 42, device: 'eth1', physical: false });
    expect(await pool.refusal('pool.create_VLAN_from_PIF', pif, network, 5000)).toEqual(['VLAN_TAG_INVALID', '5000']);
    expect((await pool.refusal('network.destroy', network))[0]).toBe('NETWORK_CONTAINS_PIF');
    for (const ref of made) await pool.call('VLAN.destroy', await pool.call('PIF.get_VLAN_master_of', ref));
    await pool.call('network.destroy', network);
  });
});
