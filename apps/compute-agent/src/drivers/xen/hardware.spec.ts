import { randomUUID } from 'node:crypto';
import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { fileSource, tapNic, testGuest } from '../common/test-guest.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { domainTypeFor, nicFor } from './hardware.js';

const all = { pv: true, pvh: true, hvm: true };
const guest = (properties: Record<string, string> = {}, extraSpecs: Record<string, string> = {}) => {
  const spec = testGuest(ServerId.parse(randomUUID()), 'cloud');
  return { ...spec, flavor: { ...spec.flavor, extraSpecs }, image: { ...spec.image, properties } };
};

describe('the type of a domain', () => {
  it.each([
    [{}, 'pv'],
    [{ hw_vm_mode: 'xen' }, 'pv'],
    [{ hw_vm_mode: 'hvm' }, 'hvm'],
    [{ hw_machine_type: 'xenpvh' }, 'pvh'],
    [{ hw_firmware_type: 'bios' }, 'hvm'],
    [{ hw_disk_bus: 'xen', hw_vif_model: 'netfront' }, 'pv'],
  ])('of %o is %s', (properties, type) => {
    expect(domainTypeFor(guest(properties), all, 'pv')).toBe(type);
  });

  it.each([
    { hw_vm_mode: 'exe' },
    { hw_vm_mode: 'xen', hw_machine_type: 'xenfv' },
    { hw_vm_mode: 'xen', hw_firmware_type: 'bios' },
    { hw_firmware_type: 'uefi' },
    { hw_disk_bus: 'virtio' },
    { hw_tpm_version: '2.0' },
    { os_secure_boot: 'required' },
    { hw_architecture: 'aarch64' },
    { hw_vm_mode: 'constructor' },
  ])('refuses %o', (properties) => {
    expect(() => domainTypeFor(guest(properties), all, 'pv')).toThrow('Xen cannot serve');
  });

  it('is one that the host runs', () => {
    expect(() => domainTypeFor(guest(), { ...all, pv: false }, 'pv')).toThrow('a pv domain on this host');
    expect(() => domainTypeFor(guest({ hw_vm_mode: 'hvm' }), { ...all, hvm: false }, 'pv')).toThrow('a hvm domain');
    expect(() => domainTypeFor(guest(), { ...all, pvh: false }, 'pvh')).toThrow('a pvh domain');
    expect(() => domainTypeFor(guest({}, { 'hw:mem_page_size': '2MB' }), all, 'pv')).toThrow('hw:mem_page_size');
    const directBoot = { kernel: fileSource('/k'), ramdisk: null, commandLine: '' };
    expect(() => domainTypeFor({ ...guest({ hw_vm_mode: 'hvm' }), directBoot }, all, 'pv')).toThrow('a kernel outside');
  });
});

describe('a port', () => {
  const bridges = { physnet1: 'xenbr0' };
  const port = (networkType: 'flat' | 'vlan', segmentationId: number | null, physicalNetwork = 'physnet1') =>
    tapNic('p', 'tap', { attachment: { kind: 'provider', networkType, physicalNetwork, segmentationId } });

  it('ends at the bridge of its network, or of its VLAN', () => {
    expect(nicFor(port('flat', null), bridges).bridge).toBe('xenbr0');
    expect(nicFor(port('vlan', 42), bridges).bridge).toBe('xenbr0.42');
  });

  it('shares a zone of connections with those of its bridge alone', () => {
    const three = { physnet1: 'xenbr0', again: 'xenbr0', physnet2: 'xenbr1' };
    const vlans = [1, 42, 583, 4094].map((id) => port('vlan', id));
    const zones = [port('flat', null), ...vlans, port('flat', null, 'physnet2'), port('vlan', 1, 'physnet2')];
    expect(new Set(zones.map((nic) => nicFor(nic, three).zone)).size).toBe(zones.length);
    expect(nicFor(port('flat', null, 'again'), three).zone).toBe(nicFor(port('flat', null), three).zone);
  });

  it('is refused where nothing can serve or guard it', () => {
    const guard = { addresses: [{ mac: 'fa:16:3e:00:00:01', ip: '10.0.0.0/24' }], rules: [] };
    expect(() => nicFor({ ...port('flat', null), guard }, bridges)).toThrow('pair that is a network');
    expect(() => nicFor(port('flat', null, 'physnet2'), bridges)).toThrow(
      new HypervisorError('unsupported', 'Xen cannot serve a physical network that is mapped to no bridge', 'physnet2'),
    );
    expect(() => nicFor(tapNic('p', 'tap'), bridges)).toThrow('neither flat nor vlan');
    expect(() => nicFor({ ...port('flat', null), model: 'e1000' }, bridges)).toThrow('hw_vif_model=e1000');
  });
});
