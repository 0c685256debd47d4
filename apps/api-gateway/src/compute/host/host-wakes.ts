import { type HostEvent, hostBus, ms, type Position, type RecordedEvent, type ServerEvent } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';
import { serverAggregate } from '../server/lifecycle/server-lifecycle.js';
import type { Server } from '../server/state/server.js';
import { isServerEvent, serverTable } from '../server/view/server.projection.js';
import { hostTable } from './host.projection.js';

/** What wake-ups need to know of the network. */
export interface HostWakesPorts {
  /** Hosts whose network changes with an event. */
  hostsTouchedBy(event: RecordedEvent, rows: RowReader): Promise<readonly string[]>;
  /** Security groups whose members an event changes. */
  regroupedBy(event: RecordedEvent): readonly string[];
  /** Hosts with rules that name the members of these groups. */
  hostsThatTrust(rows: RowReader, groups: readonly string[]): Promise<readonly string[]>;
}

/** How long hosts may go on with members of security groups that have changed since. */
const REGROUPING = ms(100);
/** Milliseconds between the hosts when all are woken. */
const BETWEEN_WAKES = 5;

/** Events of a server that ask something of its host; what it reported itself it knows. */
const news = new Set<ServerEvent['type']>([
  'ServerScheduled',
  'ServerStartRequested',
  'ServerStopRequested',
  'ServerRebootRequested',
  'ServerPauseRequested',
  'ServerUnpauseRequested',
  'ServerSuspendRequested',
  'ServerResumeRequested',
  'ServerRebuildRequested',
  'ServerResizeScheduled',
  'ServerMigrationScheduled',
  'ServerMigrationSent',
  'ServerMigrationLanded',
  'ServerMigrated',
  'ServerMigrationConfirmed',
  'ServerMigrationFailed',
  'ServerMigrationReturned',
  'ServerMigrationForceRequested',
  'ServerMigrationAbortRequested',
  'ServerGuestLost',
  'ServerResizeConfirmRequested',
  'ServerResizeRevertRequested',
  'ServerSnapshotRequested',
  'ServerRescueRequested',
  'ServerUnrescueRequested',
  'ServerInterfaceAttachRequested',
  'ServerInterfaceAttachFailed',
  'ServerInterfaceDetachRequested',
  'ServerActionFailed',
  'ServerStateReset',
  'ServerDeleteRequested',
  'ServerReleaseRequested',
]);

/** Events of a host that its agent has to hear of: an older one that it is over, the current one what to discard. */
const hostNews = new Set<string>([
  'HostSessionStarted',
  'HostRetired',
  'HostQuarantineSettled',
] satisfies HostEvent['type'][]);
const isHostNews = (event: { readonly type: string }): event is HostEvent => hostNews.has(event.type);

/** Wakes hosts when the log wants something else of them. A lost wake-up costs at most one round of the agent. */
export class HostWakes {
  /** Position of the newest event that a host was woken for. */
  private readonly told = new Map<string, Position>();
  /** Security groups with changes that hosts were not told of yet, and where the newest is. */
  private readonly regroupings = new Map<string, Position>();
  private cancelRegrouping = () => {};
  private forget = () => {};
  private on = false;

  constructor(
    private readonly core: GatewayCore,
    private readonly ports: HostWakesPorts,
    private readonly onError: (where: string, error: unknown) => void,
  ) {}

  start(): void {
    this.on = true;
    // The host asks while the event is projected, and its question waits for that.
    this.core.observeAppends((event) => {
      const hosts = this.askedBy(event);
      for (const host of hosts) this.tell(host, event);
      if (hosts.length > 0) this.core.kick(event.position);
    });
    this.core.observe((event) => {
      this.wake(event).catch((error) => this.onError('wake-up', error));
    });
    // What this replica, or one before it, projected and could not tell.
    this.forget = this.core.bus.onRestored(() => void this.wakeAll());
    void this.wakeAll();
  }

  stop(): void {
    this.on = false;
    this.forget();
    this.cancelRegrouping();
  }

  private async wake(event: RecordedEvent): Promise<void> {
    this.regrouped(event);
    const touched = await this.ports.hostsTouchedBy(event, this.core.readModel);
    const own = await this.hostsOf(event);
    const untold = own.filter((host) => (this.told.get(host) ?? 0) < event.position);
    for (const host of new Set([...touched, ...untold])) this.tell(host, event);
  }

  /** Wakes every host, one after the other, so that they do not all ask at once. */
  private async wakeAll(): Promise<void> {
    try {
      const hosts = await (await this.core.fresh()).find(hostTable, { where: { retired: false } });
      for (const [i, { id }] of hosts.entries())
        this.core.clock.after(ms(i * BETWEEN_WAKES), () => {
          if (this.on) this.core.bus.publish(hostBus.wakeSubject(id), { kind: 'desired' });
        });
    } catch (error) {
      this.onError('waking all hosts', error);
    }
  }

  private tell(host: string, { position }: { readonly position: Position }): void {
    this.told.set(host, Math.max(position, this.told.get(host) ?? 0));
    this.core.bus.publish(hostBus.wakeSubject(host), { kind: 'desired' });
  }

  /** Changes of groups come in numbers: one wake-up tells a host of many, or one that it got anyway since. */
  private regrouped(event: RecordedEvent): void {
    const groups = this.ports.regroupedBy(event);
    if (groups.length === 0) return;
    const begun = this.regroupings.size === 0;
    for (const group of groups) this.regroupings.set(group, event.position);
    if (begun)
      this.cancelRegrouping = this.core.clock.after(REGROUPING, () => {
        this.tellRegroupings().catch((error) => this.onError('wake-up', error));
      });
  }

  private async tellRegroupings(): Promise<void> {
    const groups = [...this.regroupings.keys()];
    const position = Math.max(...this.regroupings.values());
    this.regroupings.clear();
    for (const host of await this.ports.hostsThatTrust(this.core.readModel, groups))
      if ((this.told.get(host) ?? 0) < position) this.tell(host, { position });
  }

  /** The hosts that an event of our own asks something of, as far as that is known without looking. */
  private askedBy(event: RecordedEvent): string[] {
    if (!isServerEvent(event) || !news.has(event.type)) return [];
    return concerned(event, this.core.commands.remembered(serverAggregate, event.data.serverId));
  }

  private async hostsOf(event: RecordedEvent): Promise<string[]> {
    if (isHostNews(event)) return [event.data.hostId];
    if (!isServerEvent(event) || !news.has(event.type)) return [];
    return concerned(event, await this.core.readModel.get(serverTable, event.data.serverId));
  }
}

/** The host that an event names, or that of the server; and those that have something of a server that moves. */
const concerned = (
  { data }: ServerEvent,
  server: Pick<Server, 'placement' | 'remains' | 'migration'> | undefined,
): string[] => {
  const own = 'host' in data ? data.host : server?.placement?.host;
  if (!server?.migration) return own === undefined ? [] : [own];
  const others = [server.placement?.host, ...(server.remains ?? []).map((r) => r.placement.host)];
  return [...new Set([own, ...others].flatMap((host) => host ?? []))];
};
