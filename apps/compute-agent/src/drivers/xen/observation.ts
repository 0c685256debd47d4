import { randomUUID } from 'node:crypto';
import { bytes, mib, type ServerId } from '@omnivisor/contracts';
import {
  type ConsoleStream,
  type DiskExport,
  type GuestStatistics,
  HypervisorError,
  type TrafficCounters,
} from '../hypervisor-driver.js';
import { type Guest, type Guests, isOn } from './guests.js';
import { CONSOLE, CONSOLE_LOG, EXPORT, STATISTICS } from './scripts.js';
import { deviceNumber, disksOf } from './xl-config.js';
import { parseInterfaces, parseVcpuTimes } from './xl-output.js';

const SECTOR = 512;

export const readStatistics = async (guests: Guests, guest: Guest): Promise<GuestStatistics> => {
  const { definition, domain } = guest;
  if (!isOn(guest) || !domain) throw new HypervisorError('fault', 'a guest that is off has no statistics');
  const id = definition.serverId;
  const disks = disksOf(definition, guests.folder(id));
  const text = await guests.host.call(STATISTICS, [
    ...[guests.root, id, disks.map(({ device }) => deviceNumber(device)).join(' ')],
  ]);
  const [, vcpus = '', interfaces = '', counters = ''] =
    /^vcpus\n([\s\S]*?)^interfaces\n([\s\S]*?)^counters\n([\s\S]*)$/m.exec(text) ?? [];
  const numbers = new Map(
    counters.split('\n').map((line) => {
      const [kind, number, ...values] = line.split(' ');
      return [`${kind} ${number}`, values.map(Number)] as const;
    }),
  );
  const times = parseVcpuTimes(vcpus);
  const indexes = parseInterfaces(interfaces);
  return {
    uptime: null,
    cpus: Array.from({ length: definition.size.vcpus }, (_, i) => ({
      time: times[i] === undefined ? null : Math.round(times[i] * 1e9),
    })),
    memory: { maximum: mib(definition.size.memory), used: mib(Math.min(domain.memory, definition.size.memory)) },
    nics: definition.nics.map(({ portId, mac }) => {
      // What dom0's end of it has received is what the guest has sent.
      const found = numbers.get(`nic ${indexes.get(mac)}`) ?? [];
      return { portId, mac, received: traffic(found.slice(4)), sent: traffic(found.slice(0, 4)) };
    }),
    disks: disks.map(({ name, device }) => {
      const [readRequests = null, writeRequests = null, reads, writes] =
        numbers.get(`disk ${deviceNumber(device)}`) ?? [];
      return {
        disk: name,
        readBytes: reads === undefined ? null : reads * SECTOR,
        readRequests,
        writeBytes: writes === undefined ? null : writes * SECTOR,
        writeRequests,
        errors: null,
      };
    }),
  };
};

const traffic = ([octets, packets, errors, drops]: readonly number[]): TrafficCounters | null =>
  octets === undefined ? null : { bytes: octets, packets: packets ?? 0, errors: errors ?? 0, drops: drops ?? 0 };

export const tailConsole = async (guests: Guests, id: ServerId, maxBytes: number): Promise<Buffer> => {
  await guests.get(id);
  return guests.host.bytes(CONSOLE_LOG, [guests.root, id, String(maxBytes)]);
};

/** Ends with the guest, and with the connection to the host. */
export const openConsole = ({ host, root }: Guests, guest: Guest): ConsoleStream => {
  if (!isOn(guest)) throw new HypervisorError('unavailable', 'a guest that is off has no console');
  const { serverId, type, rescue } = guest.definition;
  const child = host.shell.start(CONSOLE, [root, serverId, (rescue ?? { type }).type]);
  child.stderr.resume();
  child.stdin.on('error', () => undefined);
  child.once('error', () => child.stdout.destroy());
  const close = () => {
    child.stdin.end();
    child.stdout.destroy();
    child.kill();
  };
  return { readable: child.stdout, writable: child.stdin, close };
};

/** Of a whole copy beside the guest's disks. */
export const exportDisk = async (
  guests: Guests,
  { definition }: Guest,
  disk: 'root' | 'ephemeral',
  format: string,
  signal: AbortSignal,
): Promise<DiskExport> => {
  if (format !== 'raw') throw new HypervisorError('unsupported', `Xen writes no disk of format ${format}`);
  const file = disk === 'root' ? definition.boot.root : definition.ephemeral;
  if (!file) throw new HypervisorError('unsupported', 'the guest has no such disk');
  const { serverId: id } = definition;
  const copy = `export-${randomUUID().slice(0, 8)}.raw`;
  const { size, stream } = await guests.host.read(
    EXPORT,
    [guests.root, id, guests.host.lockWait(), file, copy],
    signal,
  );
  return { format: 'raw', virtualSize: bytes(size), quiesced: false, stream };
};
