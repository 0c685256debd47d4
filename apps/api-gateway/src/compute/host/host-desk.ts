import {
  type CommandContext,
  type CommandId,
  type EventId,
  type HostEvent,
  type HostId,
  hostBus,
  hostOf,
  type ImageFormat,
  invalid,
  ms,
  type Position,
  type RecordedEvent,
  type RequestId,
  type ServerEvent,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Subscription } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import type { GatewayCore } from '../../core/gateway-core.js';
import { isServerEvent, type ServerRow, serverTable } from '../server/server.projection.js';
import { serverAggregate } from '../server/server-lifecycle.js';
import { desiredOf } from './desired.js';
import { type HostRow, hostTable } from './host.projection.js';
import { isAskedFor } from './host-change.js';

type Plug = z.input<typeof hostBus.PortPlug>;
type Plan = z.input<typeof hostBus.NetworkPlan>;

/** What the desk needs of the rest of the gateway to answer a host. */
export interface HostDeskPorts {
  plugs(rows: RowReader, serverIds: string[]): Promise<Map<string, Plug[]>>;
  plans(rows: RowReader, networkIds: string[]): Promise<Plan[]>;
  /** Everything a server's own host may know of it, for one spawn. */
  boot(
    server: ServerRow,
    host: HostId,
    formats?: readonly ImageFormat[],
  ): Promise<NonNullable<z.input<typeof hostBus.serverBoot.reply>>>;
  metadata(
    rows: RowReader,
    host: HostId,
    request: z.output<typeof hostBus.metadata.request>,
  ): Promise<z.input<typeof hostBus.metadata.reply>>;
  /** Hosts whose network changes with an event. */
  hostsTouchedBy(event: RecordedEvent, rows: RowReader): Promise<string[]>;
}

const QUEUE = 'api-gateway';
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
  'ServerActionFailed',
  'ServerStateReset',
  'ServerDeleteRequested',
]);

/** Events of a host that its agent has to hear of: an older one that it is over, the current one what to discard. */
const hostNews = new Set<HostEvent['type']>(['HostSessionStarted', 'HostRetired', 'HostQuarantineSettled']);

/**
 * The one place where compute hosts are heard. A host is not trusted: the subject proves who speaks, the log says what
 * is its own, and the server's decider judges what it reports.
 */
export class HostDesk {
  private subscriptions: Subscription[] = [];
  private forget = () => {};

  constructor(
    private readonly core: GatewayCore,
    private readonly ports: HostDeskPorts,
    private readonly onError: (where: string, error: unknown) => void,
  ) {}

  async start(): Promise<void> {
    const { bus } = this.core;
    const queue = { queue: QUEUE };
    this.subscriptions = [
      await bus.respond(hostBus.desired, (q, s) => this.desired(hostOf(s), q), queue),
      await bus.respond(hostBus.confirm, (q, s) => this.confirm(hostOf(s), q), queue),
      await bus.respond(hostBus.report, (q, s) => this.report(hostOf(s) as HostId, q), queue),
      await bus.respond(hostBus.serverBoot, (q, s) => this.boot(hostOf(s) as HostId, q), queue),
      await bus.respond(hostBus.metadata, (q, s) => this.metadata(hostOf(s) as HostId, q), queue),
    ];
    this.core.observe((event) => {
      this.wake(event).catch((error) => this.onError('wake-up', error));
    });
    // What this replica, or one before it, projected and could not tell.
    this.forget = bus.onRestored(() => void this.wakeAll());
    void this.wakeAll();
  }

  async stop(): Promise<void> {
    this.forget();
    for (const subscription of this.subscriptions) await subscription.close();
  }

  private async desired(
    hostId: string,
    { session, since }: { session: number; since: Position },
  ): Promise<z.input<typeof hostBus.desired.reply>> {
    const rows = await this.core.fresh();
    // Read first: what changes while we read is asked for again next time.
    const version = await this.core.readModel.checkpoint();
    const host = await this.current(rows, hostId, session);
    // A version that is not reached yet is of another log than this one.
    const whole = since === 0 || since > version;
    const servers = await rows.find(serverTable, {
      where: { onHost: hostId, ...(whole ? {} : { changedAt: { gt: since } }) },
    });
    const placed = servers.filter((s) => !s.deleteRequested);
    const plugs = await this.ports.plugs(
      rows,
      placed.map((s) => s.id),
    );
    const networkIds = [...new Set(placed.flatMap((s) => (s.ports ?? []).map((p) => p.networkId as string)))];
    return {
      version,
      whole,
      servers: servers.map((s) => desiredOf(s, plugs.get(s.id) ?? [])),
      networks: await this.ports.plans(rows, networkIds),
      discard: Object.entries(host.quarantine)
        .filter(([, q]) => q.verdict === 'discard')
        .map(([serverId, q]) => ({ serverId, attempt: q.attempt })),
    };
  }

  private async report(
    hostId: HostId,
    request: z.output<typeof hostBus.report.request>,
  ): Promise<z.input<typeof hostBus.report.reply>> {
    const rows = await this.core.fresh();
    await this.current(rows, hostId, request.session);
    const refused = (reason: string) => ({ accepted: false, reason });
    const server = await rows.get(serverTable, request.serverId);
    if (!server) return refused('no such server');
    const pending = server.pending!;
    const { fact } = request;
    const context: CommandContext = {
      actor: { kind: 'service', service: `host-${hostId}` },
      requestId: pending.requestId as RequestId,
      correlationId: pending.correlationId as RequestId,
      causationId: pending.eventId as EventId,
      commandId: this.core.ids.uuid() as CommandId,
    };
    const { state, events } = await this.core.commands.execute(
      serverAggregate,
      server.id,
      { type: 'report', serverId: server.id, host: hostId, attempt: request.attempt, fact, now: this.core.clock.now() },
      context,
    );
    const ours = state.placement?.host === hostId && state.placement.attempt === request.attempt;
    return events.length > 0 || ours
      ? { accepted: true, reason: null }
      : refused('the log does not place this attempt on this host');
  }

  private async confirm(
    hostId: string,
    { session, changes }: z.output<typeof hostBus.confirm.request>,
  ): Promise<z.input<typeof hostBus.confirm.reply>> {
    const rows = await this.core.fresh();
    const host = await this.current(rows, hostId, session);
    if (changes.length === 0) return { confirmed: [] };
    const servers = await rows.getMany(serverTable, [...new Set(changes.map((c) => c.serverId as string))]);
    return { confirmed: changes.map((change) => isAskedFor(change, host, servers.get(change.serverId))) };
  }

  private async boot(
    hostId: HostId,
    { session, serverId, attempt, imageFormats }: z.output<typeof hostBus.serverBoot.request>,
  ): Promise<z.input<typeof hostBus.serverBoot.reply>> {
    const rows = await this.core.fresh();
    const host = await this.current(rows, hostId, session);
    const server = await rows.get(serverTable, serverId);
    if (!server || !isAskedFor({ kind: 'spawn', serverId, attempt }, host, server)) return null;
    return this.ports.boot(server, hostId, imageFormats);
  }

  private async metadata(
    hostId: HostId,
    request: z.output<typeof hostBus.metadata.request>,
  ): Promise<z.input<typeof hostBus.metadata.reply>> {
    const rows = await this.core.fresh();
    const host = await rows.get(hostTable, hostId);
    if (!host || host.retired) throw invalid('this host is not enrolled');
    return this.ports.metadata(rows, hostId, request);
  }

  /** Tells the hosts concerned that something changed. A lost wake-up costs at most one round of the agent. */
  private async wake(event: RecordedEvent): Promise<void> {
    const wholly = await this.ports.hostsTouchedBy(event, this.core.readModel);
    for (const host of wholly) this.core.bus.publish(hostBus.wakeSubject(host), { kind: 'desired', whole: true });
    const host = await this.hostOf(event);
    if (host && !wholly.includes(host)) this.core.bus.publish(hostBus.wakeSubject(host), { kind: 'desired' });
  }

  /** Wakes every host, one after the other, so that they do not all ask at once. */
  private async wakeAll(): Promise<void> {
    try {
      const hosts = await (await this.core.fresh()).find(hostTable, { where: { retired: false } });
      for (const [i, { id }] of hosts.entries())
        this.core.clock.after(ms(i * BETWEEN_WAKES), () =>
          this.core.bus.publish(hostBus.wakeSubject(id), { kind: 'desired', whole: true }),
        );
    } catch (error) {
      this.onError('waking all hosts', error);
    }
  }

  private async hostOf(event: RecordedEvent): Promise<string | null> {
    if (hostNews.has(event.type as HostEvent['type'])) return (event as unknown as HostEvent).data.hostId;
    if (!isServerEvent(event) || !news.has(event.type)) return null;
    if ('host' in event.data) return event.data.host;
    return (await this.core.readModel.get(serverTable, event.data.serverId))?.onHost ?? null;
  }

  /** @throws DomainError when another session has the host, or nobody may have it */
  private async current(rows: RowReader, hostId: string, session: number): Promise<HostRow> {
    const host = await rows.get(hostTable, hostId);
    if (!host || host.retired || host.session !== session) throw hostBus.sessionEnded(session, host?.session ?? 0);
    return host;
  }
}
