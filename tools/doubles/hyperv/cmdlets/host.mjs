import { LiveObject } from '../binder.mjs';
import { invalidParameter, invalidState } from '../errors.mjs';
import { adapterObject } from '../objects.mjs';
import { machines } from './vm.mjs';

const MIB = 1024 ** 2;

const integration = (host, p) =>
  p.VMIntegrationService
    ? p.VMIntegrationService
    : machines(host, p).flatMap((vm) => {
        const names = p.Name ?? Object.keys(vm.integration);
        return names.map((name) => {
          if (!(name in vm.integration)) throw invalidParameter(`There is no integration service "${name}".`);
          return { vm, name };
        });
      });

const enable = (enabled) => async (host, p) => {
  for (const { vm, name } of integration(host, p)) vm.integration[name] = enabled;
  return [];
};

export const hostCmdlets = {
  'Get-VMHost': async ({ facts }) => [
    new LiveObject('VMHost', {
      Name: facts.name,
      ComputerName: facts.name,
      FullyQualifiedDomainName: facts.domain ?? '',
      LogicalProcessorCount: facts.processors,
      MemoryCapacity: facts.memory,
      VirtualHardDiskPath: 'C:\\Users\\Public\\Documents\\Hyper-V\\Virtual Hard Disks',
      VirtualMachinePath: 'C:\\ProgramData\\Microsoft\\Windows\\Hyper-V',
      VirtualMachineMigrationEnabled: facts.migration.enabled,
      VirtualMachineMigrationAuthenticationType: facts.migration.authentication,
      UseAnyNetworkForMigration: true,
    }),
  ],
  'Get-VMIntegrationService': async (host, p) =>
    integration(host, p).map((found) => new LiveObject('VMIntegrationComponent', found)),
  'Enable-VMIntegrationService': enable(true),

  'Measure-VM': async (host, p) =>
    machines(host, p).map((vm) => {
      if (!vm.metering) throw invalidState(`Resource metering is not enabled for the virtual machine '${vm.Name}'.`);
      const on = vm.State === 'Running' || vm.State === 'Paused';
      return new LiveObject('VMMeteringReportForVirtualMachine', {
        VMId: vm.Id,
        VMName: vm.Name,
        MeteringDuration: vm.startedAt ? Date.now() - Date.parse(vm.startedAt) : 0,
        AverageProcessorUsage: on ? 120 : null,
        AverageMemoryUsage: on ? Math.floor(vm.memory.startup / MIB / 2) : null,
        AggregatedDiskDataRead: on ? 5 : null,
        AggregatedDiskDataWritten: on ? 2 : null,
        AggregatedNormalizedIOCount: on ? 700 : null,
        HardDiskMetrics: vm.drives
          .filter((d) => d.kind === 'HardDiskDrive')
          .map((d) => ({ VirtualHardDisk: { Path: d.path }, DataRead: 5, DataWritten: 2 })),
        NetworkMeteredTrafficReport: vm.adapters
          .filter(({ traffic }) => traffic)
          .flatMap((adapter) =>
            ['0.0.0.0/0', '::/0'].flatMap((RemoteAddress) =>
              ['Inbound', 'Outbound'].map((Direction) => ({
                NetworkAdapter: adapterObject(vm, adapter),
                LocalAddress: '',
                RemoteAddress,
                Direction,
                TotalTraffic: RemoteAddress === '::/0' ? 0 : adapter.traffic[Direction === 'Inbound' ? 'in' : 'out'],
              })),
            ),
          ),
      });
    }),
};
