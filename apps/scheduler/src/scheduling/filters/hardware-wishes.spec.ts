import { type ReserveRequest, wishTraits } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import type { HostClass } from '../candidate.js';
import { wantedOf } from '../wanted.js';
import { hardwareWishes } from './hardware-wishes.js';

const nothingAround = { hostsOf: () => [], groupOf: () => undefined, machineOf: () => undefined };
const ask = (properties: Record<string, string>, extraSpecs: Record<string, string> = {}) =>
  wantedOf(
    {
      image: { properties, minDisk: 0 },
      flavor: { vcpus: 1, memory: 64, disk: 1, ephemeral: 0, swap: 0, extraSpecs },
      hints: {},
      networkHosts: [],
    } as unknown as ReserveRequest,
    nothingAround,
  );
const host = (traits: readonly string[]) => ({ traits: new Set(traits) }) as unknown as HostClass;
const able = host(wishTraits(['watchdog_action', 'quota:cpu_quota', 'hw_scsi_model']));
const plain = host(wishTraits([]));
const silent = host(['COMPUTE_NODE']);

describe('what images and flavors ask for', () => {
  it.each([
    ['hw_watchdog_action', { hw_watchdog_action: 'reset' }, {}],
    ['hw_watchdog_action', { hw_watchdog_action: 'Reset' }, {}],
    ['hw:watchdog_action', {}, { 'hw:watchdog_action': 'reset' }],
    ['quota:cpu_quota', {}, { 'quota:cpu_quota': '5000' }],
    ['hw_scsi_model', { hw_scsi_model: 'paraVirtual' }, {}],
  ])('is served by hosts that say so, and looked for on silent ones: %s', (constraint, properties, extraSpecs) => {
    const wanted = ask(properties as never, extraSpecs as never);
    expect(hardwareWishes.check(wanted, able)).toBeNull();
    expect(hardwareWishes.check(wanted, silent)).toBeNull();
    expect(hardwareWishes.check(wanted, plain)).toMatchObject({ constraint, had: 'not offered' });
  });

  it.each([
    [{ hw_watchdog_action: 'disabled', hw_cpu_policy: 'shared', hw_numa_nodes: '1' }, {}],
    [{ hw_disk_bus: 'virtio', hw_vif_model: 'e1000', hw_firmware_type: 'uefi' }, { 'os:secure_boot': 'required' }],
    [
      { os_distro: 'debian', hw_qemu_guest_agent: 'yes' },
      { mine: '1', 'trait:CUSTOM_GOLD': 'required' },
    ],
  ])('is nothing, or compared by traits of its values: %j, %j', (properties, extraSpecs) =>
    expect(hardwareWishes.check(ask(properties as never, extraSpecs as never), plain)).toBeNull(),
  );
});
