import { canonicalProperties } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { machineFor } from './hardware.js';
import {
  asBefore,
  changesOf,
  configOf,
  overlaid,
  refuseController,
  refuseStrange,
  resizedMachine,
  wishesOfVm,
} from './machine-changes.js';

const machine = (properties: Record<string, string>, extraSpecs: Record<string, string> = {}, vcpus = 4) =>
  machineFor({ vcpus, memoryMib: 512, extraSpecs, properties: canonicalProperties(properties), directBoot: false });

describe('a machine that becomes another', () => {
  const has = configOf({
    ...{ 'config.guestId': 'otherLinux64Guest', 'config.firmware': 'efi', 'config.bootOptions': {} },
    'config.hardware': { numCPU: '4', numCoresPerSocket: '2' },
    'config.cpuAllocation': { reservation: '0', limit: '500', shares: { shares: '4000', level: 'normal' } },
  });

  it('is known by what its VM says', () => {
    const free = { reservation: 0, limit: -1, shares: { shares: 0, level: 'normal' } };
    expect(has).toEqual({
      ...{ guestId: 'otherLinux64Guest', numCoresPerSocket: 2, firmware: 'efi' },
      bootOptions: { efiSecureBootEnabled: false },
      cpuAllocation: { reservation: 0, limit: 500, shares: { shares: 4000, level: 'normal' } },
      memoryAllocation: free,
    });
    expect(configOf({ 'config.hardware': {} })).toMatchObject({ numCoresPerSocket: 1, firmware: 'bios' });
    expect(configOf({ 'config.hardware': {} }).bootOptions).toBeUndefined();
    expect(
      configOf({ 'config.hardware': { numCoresPerSocket: '4', autoCoresPerSocket: 'true' } }).numCoresPerSocket,
    ).toBe(0);
  });

  it('is as it is, as far as its VM says, where nobody knows what was asked for', () => {
    const secure = { ...has, bootOptions: { efiSecureBootEnabled: true } };
    expect(wishesOfVm(secure, 'VirtualLsiLogicController').properties).toEqual({
      ...{ vmware_ostype: 'otherLinux64Guest', hw_scsi_model: 'lsilogic' },
      ...{ hw_firmware_type: 'uefi', os_secure_boot: 'required' },
    });
    expect(wishesOfVm(configOf({}))).toEqual({ properties: {}, extraSpecs: {} });
  });

  it('is told what differs, and nothing else', () => {
    const [bound, free] = [machine({}, { 'quota:cpu_limit': '1000' }), machine({})];
    expect(changesOf(free, bound, has)).toEqual({ cpuAllocation: expect.objectContaining({ limit: 1000 }) });
    expect(changesOf(bound, free, has)).toEqual({
      cpuAllocation: { reservation: 0, limit: -1, shares: { shares: 0, level: 'normal' } },
    });
    expect(changesOf(free, free, has)).toEqual({});
    expect(changesOf(machine({}, {}, 4), machine({}, {}, 6), has)).toEqual({ numCPUs: 6 });
    const uefi = { hw_firmware_type: 'uefi' };
    expect(changesOf(machine({ ...uefi, os_secure_boot: 'required' }), machine(uefi), has)).toEqual({
      bootOptions: { efiSecureBootEnabled: false },
    });
  });

  it('is told all when nobody knows what it was', () => {
    expect(changesOf(null, machine({}), has)).toEqual({ ...machine({}).config, numCoresPerSocket: 1 });
  });

  it('has cores that come out even, as they are asked for, or else as they are', () => {
    const cores = (from: [string | undefined, number], to: typeof from, now = has.numCoresPerSocket) => {
      const [one, other] = [from, to].map(([asked, vcpus]) =>
        machine({}, asked ? { 'hw:cpu_cores': asked } : {}, vcpus),
      ) as [ReturnType<typeof machine>, ReturnType<typeof machine>];
      return changesOf(one, other, { ...has, numCoresPerSocket: now }).numCoresPerSocket;
    };
    expect(cores([undefined, 4], [undefined, 8])).toBeUndefined();
    expect(cores([undefined, 4], [undefined, 5])).toBe(1);
    expect(cores([undefined, 4], ['4', 8])).toBe(4);
    expect(cores(['2', 4], ['2', 8])).toBeUndefined();
    expect(cores(['2', 4], [undefined, 8])).toBe(1);
    expect(cores([undefined, 4], [undefined, 5], 0)).toBeUndefined();
  });

  it('keeps firmware and storage policy in a resize', () => {
    const resized = (from: Record<string, string>, extraSpecs: Record<string, string>) => () =>
      resizedMachine(machine(from), {
        ...{ vcpus: 2, memoryMib: 512, extraSpecs, properties: from, directBoot: false },
      });
    expect(resized({}, { 'os:secure_boot': 'required' })).toThrow('does not change the firmware');
    expect(resized({}, { 'vmware:storage_policy': 'gold' })).toThrow('storage policy');
    expect(resized({ hw_firmware_type: 'uefi' }, { 'os:secure_boot': 'required' })().config).toMatchObject({
      ...{ firmware: 'efi', bootOptions: { efiSecureBootEnabled: true }, numCPUs: 2 },
    });
  });

  it('keeps its controller, unless the new image needs another', () => {
    const [linux, windows, asking] = [{}, { os_type: 'windows' }, { hw_scsi_model: 'lsilogic' }].map((each) =>
      machine(each as Record<string, string>),
    ) as [ReturnType<typeof machine>, ReturnType<typeof machine>, ReturnType<typeof machine>];
    const [paravirtual, sas] = ['ParaVirtualSCSIController', 'VirtualLsiLogicSASController'];
    refuseController(sas, windows, linux);
    refuseController('VirtualLsiLogicController', null, linux);
    // One that an older release made.
    refuseController(paravirtual, windows, windows);
    refuseController(paravirtual, null, windows);
    for (const [has, from, wanted] of [
      [paravirtual, linux, windows],
      [paravirtual, linux, asking],
      [sas, null, asking],
      [paravirtual, null, machine({ os_type: 'windows', hw_scsi_model: 'lsisas1068' })],
    ] as const)
      expect(() => refuseController(has, from, wanted)).toThrow('another controller');
  });

  it('loses no card that could not be made again', () => {
    refuseStrange([{ type: 'VirtualE1000e' }]);
    expect(() => refuseStrange([{ type: 'VirtualE1000' }, { type: 'VirtualPCNet32' }])).toThrow('cannot be made');
  });

  it('goes back to what it was', () => {
    const was = asBefore(has, { numCPUs: 2, numCoresPerSocket: 1, bootOptions: undefined });
    expect(was).toEqual({ numCoresPerSocket: 2, bootOptions: { efiSecureBootEnabled: false } });
  });

  it('follows a rescue image before its own, in whatever words', () => {
    const own = { hw_scsi_model: 'lsilogic', vmware_ostype: 'debian12_64Guest', hw_vif_model: 'e1000' };
    expect(overlaid(own, {})).toEqual(own);
    expect(overlaid(own, { vmware_adaptertype: 'busLogic', os_type: 'windows' })).toEqual({
      ...{ hw_vif_model: 'e1000', vmware_adaptertype: 'busLogic', os_type: 'windows' },
    });
    expect(overlaid({ os_type: 'windows' }, { vmware_ostype: 'debian12_64Guest', hw_vif_model: 'vmxnet3' })).toEqual({
      ...{ vmware_ostype: 'debian12_64Guest', hw_vif_model: 'vmxnet3' },
    });
  });
});
