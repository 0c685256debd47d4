import { type HostEvent, hostEvents, type Instant, type RecordedEvent, serverEvents } from '@omnivisor/contracts';
import { type HostRow, hostProjection } from '../compute/host/host.projection.js';
import { type ServerRow, serverProjection } from '../compute/server/view/server.projection.js';

/** Types of event that usage follows from. */
export const USAGE_TYPES: readonly string[] = [
  ...Object.keys(serverEvents.events),
  ...(['HostEnrolled', 'HostSessionStarted'] satisfies HostEvent['type'][]).filter((t) => t in hostEvents.events),
];

/** What a server was, between two changes of it. */
export interface Stretch {
  readonly serverId: string;
  readonly project: string;
  readonly host: string;
  /** Nova's `hypervisor_type`; `unknown` when its host never said. */
  readonly hypervisor: string;
  /** `os_type` of its image; `unknown` when the image does not say. */
  readonly osType: string;
  readonly vcpus: number;
  /** MiB. */
  readonly memory: number;
  /** GiB. */
  readonly disk: number;
  readonly isRunning: boolean;
  /** Milliseconds since the epoch. */
  readonly from: number;
  readonly to: number;
}

const STOPPED: ReadonlySet<ServerRow['power']> = new Set(['shutdown', 'crashed', 'noState', 'suspended']);

/** Since when a server is as it is. */
interface Open {
  readonly row: ServerRow;
  readonly since: number;
  /** Facts of its host when it came there. */
  readonly hypervisor: string;
}

/** A server uses its host from its spawning to its deletion, whether it runs or not. */
const uses = (row: ServerRow): boolean => row.launched && row.placement !== null && !row.deleted;

const asItIs = (row: ServerRow) =>
  [row.placement?.host, row.power, row.flavor.id, row.flavor.vcpus, row.image.id].join('\n');

/** Cuts the lives of servers into stretches within a period, as a fold of the log. Pure. */
export class UsageFold {
  private readonly open = new Map<string, Open>();
  private readonly rows = new Map<string, ServerRow>();
  private readonly hosts = new Map<string, HostRow>();

  constructor(
    private readonly from: number,
    private readonly to: number,
    private readonly emit: (stretch: Stretch) => void,
  ) {}

  apply(event: RecordedEvent): void {
    for (const hostId of hostProjection.keys(event)) {
      const host = hostProjection.evolve(this.hosts.get(hostId), event, hostId);
      if (host) this.hosts.set(hostId, host);
    }
    for (const serverId of serverProjection.keys(event)) {
      const row = serverProjection.evolve(this.rows.get(serverId), event, serverId);
      if (!row || row.released) this.rows.delete(serverId);
      else this.rows.set(serverId, row);
      this.changed(serverId, row, Date.parse(event.recordedAt));
    }
  }

  /** Ends what is still open at the end of the period. */
  finish(): void {
    for (const serverId of [...this.open.keys()]) this.changed(serverId, undefined, this.to);
  }

  private changed(serverId: string, row: ServerRow | undefined, at: number): void {
    const open = this.open.get(serverId);
    if (open && row && uses(row) && asItIs(open.row) === asItIs(row)) return;
    if (open) this.close(serverId, open, at);
    this.open.delete(serverId);
    if (!row || !uses(row)) return;
    const isSameHost = open?.row.placement?.host === row.placement!.host;
    const hypervisor = this.hosts.get(row.placement!.host)?.facts?.hypervisorType ?? 'unknown';
    this.open.set(serverId, { row, since: at, hypervisor: isSameHost ? open!.hypervisor : hypervisor });
  }

  private close(serverId: string, { row, since, hypervisor }: Open, at: number): void {
    const [from, to] = [Math.max(since, this.from), Math.min(at, this.to)];
    if (to <= from) return;
    this.emit({
      serverId,
      project: row.projectId,
      host: row.placement!.hostName,
      hypervisor,
      osType: row.image.properties.os_type ?? 'unknown',
      vcpus: row.flavor.vcpus,
      memory: row.flavor.memory,
      disk: row.flavor.disk + row.flavor.ephemeral,
      isRunning: !STOPPED.has(row.power),
      from,
      to,
    });
  }
}

export interface UsageLine {
  readonly project: string;
  readonly host: string;
  readonly hypervisor: string;
  readonly osType: string;
  readonly servers: number;
  /** From spawning to deletion. */
  readonly coreHours: number;
  /** Of these, while the guest ran. */
  readonly runningCoreHours: number;
  readonly memoryGibHours: number;
  readonly diskGibHours: number;
}

const HOUR = 3_600_000;
const hours = (milliseconds: number): number => Math.round((milliseconds / HOUR) * 1e6) / 1e6;

/** Stretches summed up by project, host, hypervisor and os_type. Pure. */
export const usageLines = (stretches: readonly Stretch[]): UsageLine[] => {
  const groups = new Map<string, Stretch[]>();
  for (const s of stretches) {
    const key = JSON.stringify([s.project, s.host, s.hypervisor, s.osType]);
    const group = groups.get(key);
    if (group) group.push(s);
    else groups.set(key, [s]);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => lineOf(group));
};

const lineOf = (group: readonly Stretch[]): UsageLine => {
  const { project, host, hypervisor, osType } = group[0]!;
  const sum = (weight: (s: Stretch) => number) => group.reduce((n, s) => n + (s.to - s.from) * weight(s), 0);
  return {
    project,
    host,
    hypervisor,
    osType,
    servers: new Set(group.map((s) => s.serverId)).size,
    coreHours: hours(sum((s) => s.vcpus)),
    runningCoreHours: hours(sum((s) => (s.isRunning ? s.vcpus : 0))),
    memoryGibHours: hours(sum((s) => s.memory) / 1024),
    diskGibHours: hours(sum((s) => s.disk)),
  };
};

export interface LicenceLine {
  readonly osType: string;
  readonly hypervisor: string;
  readonly host: string;
  readonly servers: number;
  readonly runningCoreHours: number;
  /** Most cores of running servers at one time: what is licensed by the core. */
  readonly peakCores: number;
  readonly peakServers: number;
  readonly peakAt: Instant;
}

/** What licences are counted by: the most that ran at one time on each host, by os_type. Pure. */
export const licenceLines = (stretches: readonly Stretch[]): LicenceLine[] => {
  const groups = new Map<string, Stretch[]>();
  for (const s of stretches.filter((s) => s.isRunning)) {
    const key = JSON.stringify([s.osType, s.hypervisor, s.host]);
    groups.set(key, [...(groups.get(key) ?? []), s]);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => licenceOf(group));
};

const licenceOf = (group: readonly Stretch[]): LicenceLine => {
  const { osType, hypervisor, host } = group[0]!;
  // What ends at a moment is over before what begins there.
  const steps = group
    .flatMap((s) => [
      { at: s.from, cores: s.vcpus, servers: 1 },
      { at: s.to, cores: -s.vcpus, servers: -1 },
    ])
    .sort((a, b) => a.at - b.at || a.cores - b.cores);
  let [cores, servers] = [0, 0];
  let peak = { cores: 0, servers: 0, at: steps[0]!.at };
  for (const step of steps) {
    cores += step.cores;
    servers += step.servers;
    if (cores > peak.cores) peak = { cores, servers, at: step.at };
  }
  return {
    osType,
    hypervisor,
    host,
    servers: new Set(group.map((s) => s.serverId)).size,
    runningCoreHours: hours(group.reduce((n, s) => n + (s.to - s.from) * s.vcpus, 0)),
    peakCores: peak.cores,
    peakServers: peak.servers,
    peakAt: new Date(peak.at).toISOString() as Instant,
  };
};
