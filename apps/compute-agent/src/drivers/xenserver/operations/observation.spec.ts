import { describe, expect, it } from 'vitest';
import { Pools } from '../testing/pools.js';
import { NULL_REF } from './records.js';

const pools = new Pools();

describe('what a guest tells', () => {
  it('is nothing until its tools run, and then its system and addresses', async () => {
    const driver = pools.drive();
    const { id } = await pools.running(driver);
    pools.first.double.db.set('VM', pools.first.vmOf(id).ref, { guest_metrics: NULL_REF });
    const drivers = (answers: boolean) => expect.arrayContaining([{ name: 'PV drivers', answers }]);
    expect(await driver.guestIntegration.read(id)).toEqual({
      ...{ hostname: null, operatingSystem: null, addresses: [] },
      services: drivers(false),
    });
    pools.first.double.reportGuest(pools.recordOf(id).uuid, {
      PV_drivers_detected: true,
      os_version: { name: 'Windows Server 2022 Standard|C:\\Windows|\\Device\\Harddisk0', distro: 'windows' },
      netbios_name: { host_name: 'first' },
      networks: {
        ...{ '0/ip': '10.0.0.5', '0/ipv4/0': '10.0.0.5', '0/ipv6/0': 'fe80::1', '1/ip': '10.1.0.7' },
        ...{ '2/ip': 'javascript:alert(1)', '0/name': '10.9.9.9' },
      },
    });
    expect(await driver.guestIntegration.read(id)).toEqual({
      hostname: 'first',
      operatingSystem: 'Windows Server 2022 Standard',
      addresses: ['10.0.0.5', 'fe80::1', '10.1.0.7'],
      services: drivers(true),
    });
    await driver.destroy(id);
  });
});
