import { mib } from '@omnivisor/contracts';
import { z } from 'zod';
import { type GuestStatistics, HypervisorError, type TrafficCounters } from '../hypervisor-driver.js';
import { basedDrives } from './checkpoints.js';
import { type Guest, isOn } from './guests.js';
import { machine } from './host-call.js';

const MIB = 1024 ** 2;

const Usage = z.object({ Uptime: z.number(), MemoryAssigned: z.number(), MemoryDemand: z.number() });
/** What goes through one meter of an adapter. Its traffic is MiB, since metering was switched on. */
const Meter = z.object({
  NetworkAdapter: z.object({ MacAddress: z.string() }).nullable(),
  Direction: z.enum(['Inbound', 'Outbound', 'Both']),
  TotalTraffic: z.number(),
});
/** Figures of resource metering are MiB, since it was switched on. */
const Metering = z.object({
  HardDiskMetrics: z
    .array(
      z.object({
        VirtualHardDisk: z.object({ Path: z.string().nullable() }).nullable(),
        DataRead: z.number().nullable(),
        DataWritten: z.number().nullable(),
      }),
    )
    .nullable(),
  NetworkMeteredTrafficReport: z.array(Meter).nullable(),
});

/** Of a packet the meter with the longest match counts, so they add up. One that counts both ways tells of neither. */
const trafficOf = (
  meters: readonly z.output<typeof Meter>[] | null | undefined,
  mac: string,
  way: 'Inbound' | 'Outbound',
): TrafficCounters | null => {
  const own = (meters ?? []).filter(({ NetworkAdapter }) => NetworkAdapter?.MacAddress === mac);
  const counted = own.filter(({ Direction }) => Direction === way);
  if (counted.length === 0 || own.some(({ Direction }) => Direction === 'Both')) return null;
  const bytes = counted.reduce((sum, { TotalTraffic }) => sum + TotalTraffic, 0) * MIB;
  return { bytes, packets: null, errors: null, drops: null };
};

/** Hyper-V tells of CPUs as an average of a period, which is no counter; so that is left out. */
export const readStatistics = async (guest: Guest): Promise<GuestStatistics> => {
  const { on, vm, mark } = guest;
  if (!isOn(guest)) throw new HypervisorError('fault', 'a guest that is off has no statistics');
  const [usage] = await on.host.get('Get-VM', { Id: vm.Id }, Usage);
  const [metering] = await on.host.get('Measure-VM', { VM: machine(vm.Id) }, Metering);
  const named = new Map(
    [
      ['root', mark.root],
      ['ephemeral', mark.ephemeral],
      ...Object.entries(mark.disks).map(([id, path]) => [id, path] as const),
    ].flatMap(([name, path]) => (path ? [[path.toLowerCase(), name!] as const] : [])),
  );
  const metrics = metering?.HardDiskMetrics ?? [];
  const isNamed = (path: string | null | undefined) => named.has(path?.toLowerCase() ?? '');
  // Under a checkpoint the disk that is metered is another one.
  const isAllOurs = metrics.every(({ VirtualHardDisk }) => isNamed(VirtualHardDisk?.Path));
  const bases = new Map((isAllOurs ? [] : await basedDrives(guest, mark)).map(({ Path, base }) => [Path, base]));
  return {
    uptime: Math.floor(usage!.Uptime / 1000),
    cpus: Array.from({ length: vm.ProcessorCount }, () => ({ time: null })),
    memory: {
      maximum: mib(Math.round((vm.DynamicMemoryEnabled ? vm.MemoryMaximum : vm.MemoryStartup) / MIB)),
      used: mib(Math.round(Math.min(usage!.MemoryDemand, usage!.MemoryAssigned) / MIB)),
    },
    nics: Object.entries(mark.ports).map(([portId, mac]) => ({
      portId,
      mac: mac.toLowerCase().match(/../g)!.join(':'),
      received: trafficOf(metering?.NetworkMeteredTrafficReport, mac, 'Inbound'),
      sent: trafficOf(metering?.NetworkMeteredTrafficReport, mac, 'Outbound'),
    })),
    disks: metrics.flatMap(({ VirtualHardDisk, DataRead, DataWritten }) => {
      const path = VirtualHardDisk?.Path ?? null;
      const disk = named.get((bases.get(path) ?? path)?.toLowerCase() ?? '');
      if (!disk) return [];
      return {
        disk,
        readBytes: DataRead === null ? null : DataRead * MIB,
        readRequests: null,
        writeBytes: DataWritten === null ? null : DataWritten * MIB,
        writeRequests: null,
        errors: null,
      };
    }),
  };
};
