import { isIP } from 'node:net';
import { mib } from '@omnivisor/contracts';
import {
  type ConsoleKind,
  type ConsoleStream,
  type GuestIntegrationInfo,
  type GuestStatistics,
  HypervisorError,
} from '../../hypervisor-driver.js';
import { connectConsole } from '../transport/transfer.js';
import type { XapiSession } from '../transport/xapi-session.js';
import type { Devices } from './devices.js';
import { attachedDisks, DISK_KEY, PORT_KEY } from './guest-state.js';
import type { Guest } from './guests.js';
import type { Place } from './place.js';
import { NULL_REF, type Ref, wholeNumber, type XapiMap } from './records.js';

const PROTOCOLS: Readonly<Record<ConsoleKind, string>> = { vnc: 'rfb', serial: 'vt100' };
/** Nothing is counted: XAPI tells rates, and no sums. */
const UNCOUNTED = { readBytes: null, readRequests: null, writeBytes: null, writeRequests: null, errors: null };

interface VmMetrics {
  readonly memory_actual: number;
  readonly VCPUs_number: number;
  readonly start_time: string;
}

/** What the tools inside a guest say. They are the tenant's: nothing of it is sure. */
interface GuestMetrics {
  readonly os_version: XapiMap;
  /** Since XAPI 24.28. */
  readonly netbios_name?: XapiMap;
  readonly networks: XapiMap;
  readonly PV_drivers_detected: boolean;
  readonly live: boolean;
}

/** What can be seen of a guest from outside. */
export class Observation {
  constructor(
    private readonly xapi: XapiSession,
    private readonly place: Place,
    private readonly devices: Devices,
  ) {}

  async console({ ref, record }: Guest, kind: ConsoleKind): Promise<ConsoleStream> {
    if (record.power_state !== 'Running') throw new HypervisorError('unavailable', 'the guest is off');
    const protocol = PROTOCOLS[kind];
    if (!protocol) throw new HypervisorError('unsupported', `a guest of this pool has no ${kind} console`);
    const consoles = await this.xapi.call<Ref[]>('VM.get_consoles', ref);
    for (const console of consoles)
      if ((await this.xapi.call('console.get_protocol', console)) === protocol)
        return this.open(record.resident_on, console);
    throw new HypervisorError(
      'unsupported',
      `this guest has no ${kind} console: only paravirtual ones have a text console`,
    );
  }

  private async open(host: Ref, console: Ref): Promise<ConsoleStream> {
    const address = this.place.members.get(host)?.address ?? (await this.xapi.call<string>('host.get_address', host));
    const stream = await connectConsole(this.xapi, await this.xapi.member(address), console);
    stream.on('error', () => stream.destroy());
    return { readable: stream, writable: stream, close: () => void stream.destroy() };
  }

  async integration({ record }: Guest): Promise<GuestIntegrationInfo> {
    if (record.power_state !== 'Running') throw new HypervisorError('fault', 'a guest that is off tells nothing');
    const metrics =
      record.guest_metrics === NULL_REF
        ? null
        : await this.xapi.call<GuestMetrics>('VM_guest_metrics.get_record', record.guest_metrics);
    return {
      hostname: metrics?.netbios_name?.host_name ?? null,
      // Windows adds where it is installed.
      operatingSystem: metrics?.os_version.name?.split('|')[0] ?? null,
      addresses: metrics ? addressesIn(metrics.networks) : [],
      services: [
        { name: 'PV drivers', answers: metrics?.PV_drivers_detected ?? false },
        { name: 'management agent', answers: metrics?.live ?? false },
      ],
    };
  }

  async statistics({ ref, record, state }: Guest): Promise<GuestStatistics> {
    if (record.power_state !== 'Running' && record.power_state !== 'Paused')
      throw new HypervisorError('fault', 'a guest that is off has no statistics');
    const metrics = await this.xapi.call<VmMetrics>('VM_metrics.get_record', record.metrics);
    const vifs = await this.devices.vifs(ref);
    const attached = (await this.devices.vbds(ref)).flatMap(({ record: vbd }) => vbd.other_config[DISK_KEY] ?? []);
    return {
      uptime: uptimeOf(metrics.start_time),
      cpus: Array.from({ length: wholeNumber(metrics.VCPUs_number) }, () => ({ time: null })),
      memory: {
        maximum: mib(Math.round(wholeNumber(record.memory_static_max) / 2 ** 20)),
        used: mib(Math.round(wholeNumber(metrics.memory_actual) / 2 ** 20)),
      },
      nics: vifs.flatMap(({ record: vif }) => {
        const portId = vif.other_config[PORT_KEY];
        return portId === undefined ? [] : [{ portId, mac: vif.MAC, received: null, sent: null }];
      }),
      disks: [...attachedDisks(state).map(({ role }) => role), ...attached].map((disk) => ({ disk, ...UNCOUNTED })),
    };
  }
}

/** Addresses come as `0/ip`, `0/ipv4/0`, `0/ipv6/1`, by the number of the interface, and the first ones twice. */
const addressesIn = (networks: XapiMap): string[] => [
  ...new Set(Object.entries(networks).flatMap(([key, ip]) => (/^\d+\/ip/.test(key) && isIP(ip) ? [ip] : []))),
];

/** Seconds; null when XAPI does not say since when. */
const uptimeOf = (start: string): number | null => {
  const [, year, month, day, time] = /^(\d{4})-?(\d{2})-?(\d{2})T(\d{2}:\d{2}:\d{2})/.exec(start) ?? [];
  if (year === undefined || year === '1970') return null;
  return Math.max(0, Math.round((Date.now() - Date.parse(`${year}-${month}-${day}T${time}Z`)) / 1000));
};
