import { describe, expect, it } from 'vitest';
import type { HypervisorDriver, ProbeReport } from '../drivers/hypervisor-driver.js';
import { hostFacts } from './host-facts.js';

const driver = (backend: string) =>
  ({
    backend,
    pausing: {},
    liveMigration: {},
    inventory: async () => ({ vcpus: 1, memoryMib: 1, diskGib: 1 }),
  }) as unknown as HypervisorDriver;
const report = { traits: ['COMPUTE_NODE'], cpuInfo: {} } as unknown as ProbeReport;
const traitsOf = async (backend: string) =>
  (await hostFacts(driver(backend), report, [], { node: 'n', hostIp: '192.0.2.1', machineId: 'm', bootId: 'b' }))
    .traits;

describe('traits of a host', () => {
  it('name what its driver does', async () =>
    expect(await traitsOf('qemu')).toEqual([
      'COMPUTE_NODE',
      'CUSTOM_OMNIVISOR_LIVE_MIGRATE',
      'CUSTOM_OMNIVISOR_PAUSE',
    ]));

  it.each(['vsphere', 'xenserver', 'hyperv'])('do not promise what the API refuses: %s', async (backend) =>
    expect(await traitsOf(backend)).toEqual(['COMPUTE_NODE', 'CUSTOM_OMNIVISOR_PAUSE']),
  );
});
