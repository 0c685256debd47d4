import { z } from 'zod';
import { type GuestIntegrationInfo, HypervisorError } from '../hypervisor-driver.js';
import type { Guest } from './guests.js';
import { machine } from './host-call.js';
import { powerOf } from './operations/machines.js';

const told = z.string().nullish();
/** Names of the key-value pairs that a guest sends by itself; Linux has the name of its distribution beside. */
const Facts = z.object({
  FullyQualifiedDomainName: told,
  OSName: told,
  OSDistributionName: told,
  NetworkAddressIPv4: told,
  NetworkAddressIPv6: told,
});
const Service = z.object({ Name: z.string(), Enabled: z.boolean(), PrimaryOperationalStatus: z.string().nullable() });

export const readIntegration = async ({ on, vm }: Guest): Promise<GuestIntegrationInfo> => {
  if (powerOf(vm.State) !== 'running') throw new HypervisorError('fault', 'a guest that does not run tells nothing');
  const services = await on.host.get('Get-VMIntegrationService', { VM: machine(vm.Id) }, Service);
  const [facts] = await on.host.get('Get-HostGuestFact', { VMId: vm.Id }, Facts);
  const addresses = [facts?.NetworkAddressIPv4, facts?.NetworkAddressIPv6].flatMap((list) => list?.split(';') ?? []);
  return {
    hostname: facts?.FullyQualifiedDomainName || null,
    operatingSystem: facts?.OSDistributionName || facts?.OSName || null,
    addresses: addresses.filter(Boolean),
    services: services
      .filter(({ Enabled }) => Enabled)
      .map(({ Name, PrimaryOperationalStatus }) => ({ name: Name, answers: PrimaryOperationalStatus === 'Ok' })),
  };
};
