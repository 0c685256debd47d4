import type { Backend, GuestStatistics, HostFacts, TrafficCounters } from '@omnivisor/contracts';

/** Hypervisors by the few names that the Compute API has for its drivers; what it has none for is driven as libvirt drives it. */
const DRIVERS: Readonly<Record<Backend, { readonly driver: string; readonly os: string }>> = {
  qemu: { driver: 'libvirt', os: 'linux' },
  xen: { driver: 'libvirt', os: 'linux' },
  fake: { driver: 'libvirt', os: 'linux' },
  xenserver: { driver: 'xenapi', os: 'linux' },
  vsphere: { driver: 'vmwareapi', os: 'esxi' },
  hyperv: { driver: 'hyperv', os: 'windows' },
};

const whole = (value: number | null | undefined): number | null => (value == null ? null : Math.round(value));

const traffic = (way: 'rx' | 'tx', counters: TrafficCounters | null, rate: number | null | undefined) => ({
  [`${way}_octets`]: whole(counters?.bytes),
  [`${way}_packets`]: whole(counters?.packets),
  [`${way}_errors`]: whole(counters?.errors),
  [`${way}_drop`]: whole(counters?.drops),
  [`${way}_rate`]: whole(rate),
});

/** From 2.48 on: the same fields of every hypervisor, null where it does not tell. */
export const standardDiagnostics = (
  { uptime, cpus, memory, nics, disks }: GuestStatistics,
  { backend, hypervisorType }: Pick<HostFacts, 'backend' | 'hypervisorType'>,
  configDrive: boolean,
) => ({
  state: 'running',
  driver: DRIVERS[backend].driver,
  hypervisor: hypervisorType.toLowerCase(),
  hypervisor_os: DRIVERS[backend].os,
  uptime: whole(uptime),
  config_drive: configDrive,
  num_cpus: cpus.length,
  num_nics: nics.length,
  num_disks: disks.length,
  cpu_details: cpus.map(({ time, utilisation }, id) => ({
    id,
    time: whole(time),
    utilisation: whole(utilisation),
  })),
  memory_details: { maximum: memory.maximum, used: memory.used },
  nic_details: nics.map(({ mac, received, sent, receivedRate, sentRate }) => ({
    mac_address: mac,
    ...traffic('rx', received, receivedRate),
    ...traffic('tx', sent, sentRate),
  })),
  disk_details: disks.map((disk) => ({
    read_bytes: whole(disk.readBytes),
    read_requests: whole(disk.readRequests),
    write_bytes: whole(disk.writeBytes),
    write_requests: whole(disk.writeRequests),
    errors_count: whole(disk.errors),
  })),
});

/**
 * Until 2.47: numbers by the names that libvirt's driver gave them, as clients know those, without what is not told. A
 * network interface is called as its port's device is.
 */
export const plainDiagnostics = ({ cpus, memory, nics, disks }: GuestStatistics): Record<string, number> => {
  const KIB = 1024;
  const found: [string, number | null | undefined][] = [
    ...cpus.map(({ time }, i): [string, number | null] => [`cpu${i}_time`, time]),
    ['memory', memory.maximum * KIB],
    ['memory-rss', memory.used === null ? null : memory.used * KIB],
    ...disks.flatMap(({ disk, ...of }): [string, number | null][] => [
      [`${disk}_read`, of.readBytes],
      [`${disk}_read_req`, of.readRequests],
      [`${disk}_write`, of.writeBytes],
      [`${disk}_write_req`, of.writeRequests],
      [`${disk}_errors`, of.errors],
    ]),
    ...nics.flatMap(({ portId, received, sent }) =>
      (
        [
          ['rx', received],
          ['tx', sent],
        ] as const
      ).flatMap(([way, counters]): [string, number | null | undefined][] => {
        const device = `tap${portId.slice(0, 11)}_${way}`;
        return [
          [device, counters?.bytes],
          [`${device}_packets`, counters?.packets],
          [`${device}_errors`, counters?.errors],
          [`${device}_drop`, counters?.drops],
        ];
      }),
    ),
  ];
  return Object.fromEntries(found.flatMap(([name, value]) => (value == null ? [] : [[name, Math.round(value)]])));
};
