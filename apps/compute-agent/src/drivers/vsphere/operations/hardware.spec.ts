import { canonicalProperties } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { machineFor } from './hardware.js';

const machine = (properties: Record<string, string>, extraSpecs: Record<string, string> = {}, vcpus = 4) =>
  machineFor({ vcpus, memoryMib: 512, extraSpecs, properties: canonicalProperties(properties), directBoot: false });

describe('the hardware of a guest', () => {
  it('is what runs best when nothing is asked for', () => {
    const { controller, nic, policy, config } = machine({});
    expect([controller, nic, policy]).toEqual(['ParaVirtualSCSIController', 'VirtualVmxnet3', null]);
    expect(config).toMatchObject({ firmware: 'bios', guestId: 'otherLinux64Guest', numCPUs: 4, memoryMB: 512 });
    expect(config.bootOptions).toBeUndefined();
    const free = { reservation: 0, limit: -1, shares: { shares: 0, level: 'normal' } };
    expect([config.cpuAllocation, config.memoryAllocation]).toEqual([free, free]);
  });

  it('is what the image asks for, by the names of Nova and of VMware', () => {
    expect(machine({ hw_scsi_model: 'lsisas1068', hw_vif_model: 'e1000e' })).toMatchObject({
      ...{ controller: 'VirtualLsiLogicSASController', nic: 'VirtualE1000e' },
    });
    expect(machine({ vmware_adaptertype: 'busLogic' }).controller).toBe('VirtualBusLogicController');
    expect(machine({ vmware_ostype: 'debian12_64Guest', os_type: 'windows' }).config.guestId).toBe('debian12_64Guest');
    expect(machine({ os_secure_boot: 'required' }).config).toMatchObject({
      ...{ firmware: 'efi', bootOptions: { efiSecureBootEnabled: true } },
    });
    expect(machine({ hw_firmware_type: 'uefi' }).config.bootOptions).toEqual({ efiSecureBootEnabled: false });
  });

  it('is what Windows has drivers for, on any version of vSphere, unless its image says more', () => {
    expect(machine({ os_type: 'windows' })).toMatchObject({
      ...{ controller: 'VirtualLsiLogicSASController', nic: 'VirtualE1000e' },
      config: { guestId: 'windows9Server64Guest' },
    });
    expect(machine({ os_type: 'windows', hw_scsi_model: 'vmpvscsi', hw_vif_model: 'vmxnet3' })).toMatchObject({
      ...{ controller: 'ParaVirtualSCSIController', nic: 'VirtualVmxnet3' },
    });
  });

  it('is shared and bound as the flavor says', () => {
    const { config, policy } = machine(
      { hw_cpu_sockets: '2' },
      {
        'hw:cpu_cores': '2',
        'quota:cpu_limit': '1000',
        'quota:memory_shares_level': 'high',
        'vmware:storage_policy': 'gold',
      },
    );
    expect([config.numCoresPerSocket, policy]).toEqual([2, 'gold']);
    expect(config.cpuAllocation).toMatchObject({ limit: 1000 });
    expect(config.memoryAllocation).toMatchObject({ shares: { level: 'high' } });
  });

  it('is refused when it cannot be had; nothing is dropped silently', () => {
    for (const [properties, extraSpecs] of [
      [{ hw_firmware_type: 'coreboot' }],
      [{ hw_firmware_type: 'bios', os_secure_boot: 'required' }],
      [{ hw_disk_bus: 'virtio' }],
      [{ hw_vif_model: 'virtio' }],
      [{ hw_scsi_model: 'virtio-scsi' }],
      [{ hw_architecture: 'aarch64' }],
      [{ hw_vm_mode: 'xen' }],
      [{ hw_machine_type: 'q35' }],
      [{ hw_cpu_threads: '2' }],
      [{ hw_cpu_cores: '3' }],
      [{}, { 'hw:cpu_policy': 'dedicated' }],
      [{}, { 'hw:numa_nodes': '2' }],
      [{}, { 'hw:mem_page_size': 'large' }],
      [{}, { 'hw:tpm_version': '2.0' }],
      [{}, { 'quota:cpu_limit': 'much' }],
      [{}, { 'quota:cpu_shares_level': 'most' }],
      [{}, { 'quota:disk_io_limit': '10' }],
    ] as [Record<string, string>, Record<string, string>?][])
      expect(() => machine(properties, extraSpecs), JSON.stringify([properties, extraSpecs])).toThrow('cannot serve');
  });
});
