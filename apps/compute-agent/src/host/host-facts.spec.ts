import { describe, expect, it } from 'vitest';
import type { HypervisorDriver, MigrationReach, ProbeReport } from '../drivers/hypervisor-driver.js';
import { hostFacts } from './host-facts.js';

const driver = (backend: string, reach: Partial<MigrationReach> = {}) =>
  ({
    backend,
    pausing: {},
    liveMigration: { reach: async () => ({ storage: null, sees: [], realm: null, pool: null, ...reach }) },
    inventory: async () => ({ vcpus: 1, memoryMib: 1, diskGib: 1 }),
  }) as unknown as HypervisorDriver;
const report = { traits: ['COMPUTE_NODE'], cpuInfo: {} } as unknown as ProbeReport;
const told = { node: 'n', hostIp: '192.0.2.1', machineId: 'm', bootId: 'b' };
const factsOf = (of: HypervisorDriver) => hostFacts(of, report, [], told);

describe('traits of a host', () => {
  it('name what its driver does', async () =>
    expect((await factsOf(driver('qemu'))).traits).toEqual([
      'COMPUTE_NODE',
      'CUSTOM_OMNIVISOR_LIVE_MIGRATE',
      'CUSTOM_OMNIVISOR_PAUSE',
    ]));

  it('leave out what nothing in the API leads to', async () => {
    const { traits } = await factsOf({ ...driver('qemu'), disks: {}, diskGrowing: {} } as unknown as HypervisorDriver);
    expect(traits).toEqual((await factsOf(driver('qemu'))).traits);
  });

  it('are shared by those between which running guests move, and tell nobody what is there', async () => {
    const vcenter = { realm: 'vcenter-1', pool: 'vcenter-1' };
    const here = await factsOf(driver('vsphere', { storage: 'nfs', sees: ['nfs', 'vmfs'], ...vcenter }));
    const there = await factsOf(driver('vsphere', { storage: 'vmfs', sees: ['vmfs'], ...vcenter }));
    const { storage, realm, pool } = here.migration!;
    expect(here.traits).toEqual(expect.arrayContaining([storage, realm, pool, there.migration!.storage]));
    expect(there.migration).toMatchObject({ realm, pool });
    expect(there.traits).not.toContain(storage);
    expect(realm).not.toBe(pool);
    for (const trait of here.traits) expect(trait).toMatch(/^[A-Z0-9_]+$/);
    expect(JSON.stringify(here)).not.toMatch(/nfs|vcenter-1/i);
    const other = await factsOf(driver('xenserver', { storage: 'nfs', sees: ['nfs'] }));
    expect(other.traits).not.toContain(storage);
    expect(other.migration).toMatchObject({ realm: null, pool: null });
  });
});
