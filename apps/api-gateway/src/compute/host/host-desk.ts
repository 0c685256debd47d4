import {
  type CommandContext,
  type CommandId,
  type EventId,
  type HostId,
  hostBus,
  hostOf,
  type ImageFormat,
  invalid,
  type Position,
  type RequestId,
  type ServerId,
  unavailable,
  unsupported,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Subscription } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import type { GatewayCore } from '../../core/gateway-core.js';
import { settled } from '../../core/settled.js';
import { serverAggregate } from '../server/lifecycle/server-lifecycle.js';
import { isAccepting, isGivenUp, remainsOn } from '../server/state/server-moving.js';
import { remainsTable, type ServerRow, serverTable } from '../server/view/server.projection.js';
import { desiredOf, desiredRemains } from './desired.js';
import { type HostRow, hostTable } from './host.projection.js';
import { migrationAddressOf } from './host-addresses.js';
import { isAskedFor } from './host-change.js';
import { HostRetirements } from './host-retirements.js';
import { HostWakes, type HostWakesPorts } from './host-wakes.js';

type Plug = z.input<typeof hostBus.PortPlug>;
type Plan = z.input<typeof hostBus.NetworkPlan>;

type Boot = NonNullable<z.input<typeof hostBus.serverBoot.reply>>;

/** What the desk needs of the rest of the gateway to answer a host. */
export interface HostDeskPorts extends HostWakesPorts {
  plugs(rows: RowReader, servers: readonly ServerRow[]): Promise<Map<string, Plug[]>>;
  plans(rows: RowReader, networkIds: string[]): Promise<Plan[]>;
  /** Members of the security groups that rules on a host name, as far as they changed, and whether more did. */
  news(
    rows: RowReader,
    hostId: string,
    since: Position,
  ): Promise<{ readonly everything: boolean; readonly members: z.input<typeof hostBus.GroupMembers>[] }>;
  /** Servers whose ports on a host changed. */
  serversWithNews(rows: RowReader, hostId: string, since: Position): Promise<string[]>;
  /** What a server's own host may know of it, for one spawn or operation that needs the image's bytes. */
  boot(server: ServerRow, image: ServerRow['image'], host: HostId, formats?: readonly ImageFormat[]): Promise<Boot>;
  /** What the hypervisor starts of an image that has a kernel beside its disk. */
  kernel(image: ServerRow['image'], host: HostId): Promise<Pick<Boot, 'kernel' | 'ramdisk'>>;
  /** Where the bytes of the server's open snapshot, or of its disk when it moves, go. */
  upload(
    server: ServerRow,
    host: HostId,
    disk: 'root' | 'ephemeral',
  ): Promise<z.input<typeof hostBus.snapshotUpload.reply>>;
  /** Has a host make the shell of a guest that is on its way to it. @throws DomainError `unavailable` */
  receive(
    host: HostId,
    question: { readonly serverId: ServerId; readonly attempt: number; readonly offer: string },
  ): Promise<{ readonly ok: boolean; readonly unsupported: boolean; readonly body: string }>;
  metadata(
    rows: RowReader,
    host: HostId,
    request: z.output<typeof hostBus.metadata.request>,
  ): Promise<z.input<typeof hostBus.metadata.reply>>;
}

const QUEUE = 'api-gateway';
/**
 * The one place where compute hosts are heard. A host is not trusted: the subject proves who speaks, the log says what
 * is its own, and the server's decider judges what it reports.
 */
export class HostDesk {
  private subscriptions: Subscription[] = [];
  private readonly wakes: HostWakes;
  private readonly retirements: HostRetirements;

  constructor(
    private readonly core: GatewayCore,
    private readonly ports: HostDeskPorts,
    onError: (where: string, error: unknown) => void,
  ) {
    this.wakes = new HostWakes(core, ports, onError);
    this.retirements = new HostRetirements(core, onError);
  }

  async start(): Promise<void> {
    const { bus } = this.core;
    const queue = { queue: QUEUE };
    this.subscriptions = [
      await bus.respond(hostBus.desired, (q, s) => this.desired(hostOf(s), q), queue),
      await bus.respond(hostBus.confirm, (q, s) => this.confirm(hostOf(s), q), queue),
      await bus.respond(hostBus.report, (q, s) => this.report(hostOf(s) as HostId, q), queue),
      await bus.respond(hostBus.serverBoot, (q, s) => this.boot(hostOf(s) as HostId, q), queue),
      await bus.respond(hostBus.snapshotUpload, (q, s) => this.upload(hostOf(s) as HostId, q), queue),
      await bus.respond(hostBus.migrationTicket, (q, s) => this.ticket(hostOf(s) as HostId, q), queue),
      await bus.respond(hostBus.metadata, (q, s) => this.metadata(hostOf(s) as HostId, q), queue),
    ];
    this.wakes.start();
    this.retirements.start();
  }

  async stop(): Promise<void> {
    this.wakes.stop();
    this.retirements.stop();
    for (const subscription of this.subscriptions) await subscription.close();
  }

  private async desired(
    hostId: string,
    { session, since }: { session: number; since: Position },
  ): Promise<z.input<typeof hostBus.desired.reply>> {
    const rows = await this.core.fresh();
    // What changes while we read is asked for again next time.
    const version = this.core.projector.position;
    const [host, news, { servers, plugs, networks }] = await settled([
      this.current(rows, hostId, session),
      this.ports.news(rows, hostId, since),
      this.serversFor(rows, hostId, since),
    ]);
    // A version that is not reached yet is of another log than this one.
    if (news.everything || since > version) return this.desired(hostId, { session, since: 0 });
    return {
      version,
      whole: since === 0,
      servers: servers.map((s) => this.desiredOn(hostId, s, plugs.get(s.id) ?? [])),
      networks,
      groups: news.members,
      discard: Object.entries(host.quarantine)
        .filter(([, q]) => q.verdict === 'discard')
        .map(([serverId, q]) => ({ serverId, attempt: q.attempt })),
    };
  }

  private async serversFor(rows: RowReader, hostId: string, since: Position) {
    const newer = since === 0 ? {} : { changedAt: { gt: since } };
    const [changed, remains, touched] = await settled([
      rows.find(serverTable, { where: { onHost: hostId, ...newer } }),
      rows.find(remainsTable, { where: { hostId, ...newer } }),
      since === 0 ? [] : this.ports.serversWithNews(rows, hostId, since),
    ]);
    const left = await rows.getMany(
      serverTable,
      remains.map((r) => r.serverId),
    );
    const servers = [...changed, ...left.values(), ...(await this.others(rows, hostId, changed, touched))];
    const placed = servers.filter((s) => !s.deleteRequested);
    const networkIds = [...new Set(placed.flatMap((s) => (s.ports ?? []).map((p) => p.networkId as string)))];
    const [plugs, networks] = await settled([this.ports.plugs(rows, placed), this.ports.plans(rows, networkIds)]);
    return { servers, plugs, networks };
  }

  /** Servers on the host that did not change themselves, but something of theirs did. */
  private async others(
    rows: RowReader,
    hostId: string,
    changed: readonly ServerRow[],
    touched: readonly string[],
  ): Promise<ServerRow[]> {
    const others = touched.filter((id) => !changed.some((server) => server.id === id));
    return [...(await rows.getMany(serverTable, others)).values()].filter((server) => server.onHost === hostId);
  }

  /** A server is on a host as its guest, or as what is left of it there. */
  private desiredOn(hostId: string, server: ServerRow, plugs: readonly Plug[]) {
    const left = server.onHost === hostId ? undefined : server.remains?.find((r) => r.placement.host === hostId);
    return left ? desiredRemains(server, left, plugs) : desiredOf(server, plugs);
  }

  private async report(
    hostId: HostId,
    request: z.output<typeof hostBus.report.request>,
  ): Promise<z.input<typeof hostBus.report.reply>> {
    const rows = await this.core.fresh();
    const [, server] = await settled([
      this.current(rows, hostId, request.session),
      rows.get(serverTable, request.serverId),
    ]);
    const refused = (reason: string) => ({ accepted: false, reason });
    if (!server) return refused('no such server');
    const { fact } = request;
    const pending = ('portId' in fact && server.interfaceRequests?.[fact.portId]) || server.pending!;
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
    const { attempt } = request;
    const isPlaced = state.placement?.host === hostId && state.placement.attempt === attempt;
    const ours = isPlaced || remainsOn(state, hostId, attempt) !== undefined;
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
    { session, serverId, attempt, generation, imageFormats }: z.output<typeof hostBus.serverBoot.request>,
  ): Promise<z.input<typeof hostBus.serverBoot.reply>> {
    const rows = await this.core.fresh();
    const [host, server] = await settled([this.current(rows, hostId, session), rows.get(serverTable, serverId)]);
    if (!server) return null;
    const isIncoming = remainsOn(server, hostId, attempt) !== undefined;
    const change: hostBus.HostChange =
      generation === undefined
        ? { kind: isIncoming ? 'receive' : 'spawn', serverId, attempt }
        : { kind: 'operate', serverId, attempt, generation };
    if (!isAskedFor(change, host, server)) return null;
    // A guest that has come by itself is never made from an image.
    if (generation === undefined && (isAccepting(server) || isGivenUp(server))) return null;
    const arrival = generation === undefined ? server.arrival : null;
    const image = (generation !== undefined && server.operation?.image) || server.image;
    const given = {
      ...(await this.ports.boot(server, arrival?.root ?? image, hostId, imageFormats)),
      ...(await this.ports.kernel(image, hostId)),
    };
    if (!arrival?.ephemeral) return given;
    const { imageUrl, imageFormat } = await this.ports.boot(server, arrival.ephemeral, hostId, imageFormats);
    return { ...given, ephemeral: { imageUrl, ...(imageFormat ? { imageFormat } : {}) } };
  }

  private async upload(
    hostId: HostId,
    { session, serverId, attempt, generation, disk = 'root' }: z.output<typeof hostBus.snapshotUpload.request>,
  ): Promise<z.input<typeof hostBus.snapshotUpload.reply>> {
    const rows = await this.core.fresh();
    const [host, server] = await settled([this.current(rows, hostId, session), rows.get(serverTable, serverId)]);
    const isAsked = server && isAskedFor({ kind: 'operate', serverId, attempt, generation }, host, server);
    return isAsked ? this.ports.upload(server, hostId, disk) : null;
  }

  private async ticket(
    hostId: HostId,
    { session, serverId, attempt, generation, offer }: z.output<typeof hostBus.migrationTicket.request>,
  ): Promise<z.input<typeof hostBus.migrationTicket.reply>> {
    const rows = await this.core.fresh();
    const [host, server] = await settled([this.current(rows, hostId, session), rows.get(serverTable, serverId)]);
    const target = server?.migration?.target;
    const isAsked = server && isAskedFor({ kind: 'operate', serverId, attempt, generation }, host, server);
    if (!isAsked || !target || server.operation?.kind !== 'liveMigrate' || server.operation.abort) return null;
    const answer = await this.ports.receive(target.host, { serverId, attempt: target.attempt, offer });
    if (answer.unsupported) {
      const reason = hostBus.hostReason(answer.body);
      throw unsupported(`The target cannot take the guest${reason === '' ? '' : `: ${reason}`}.`);
    }
    if (!answer.ok) throw unavailable('The target does not take the guest now.');
    const address = migrationAddressOf(await rows.find(hostTable, { where: { retired: false } }), target.host);
    return { ticket: answer.body, ...(address === undefined ? {} : { address }) };
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

  /** @throws DomainError when another session has the host, or nobody may have it */
  private async current(rows: RowReader, hostId: string, session: number): Promise<HostRow> {
    const host = await rows.get(hostTable, hostId);
    if (!host || host.retired || host.session !== session) throw hostBus.sessionEnded(session, host?.session ?? 0);
    return host;
  }
}
