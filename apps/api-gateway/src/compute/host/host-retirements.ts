import {
  type CommandContext,
  type CommandId,
  type EventId,
  type HostId,
  type RecordedEvent,
  type RequestId,
  type ServerEvent,
  seconds,
} from '@omnivisor/contracts';
import type { GatewayCore } from '../../core/gateway-core.js';
import { serverAggregate } from '../server/lifecycle/server-lifecycle.js';
import { isServerEvent, remainsTable, type ServerRow, serverTable } from '../server/view/server.projection.js';
import { hostTable } from './host.projection.js';

/** Events after which a server may have something on a host that left before. */
const leaves: ReadonlySet<string> = new Set([
  'ServerMigrationScheduled',
  'ServerMigrationLanded',
  'ServerMigrated',
  'ServerMigrationFailed',
  'ServerResizeRevertRequested',
  'ServerGuestAbsent',
  'ServerDeleteRequested',
  'ServerReleaseRequested',
] satisfies ServerEvent['type'][]);

/** Until what could not be ended is tried again. */
const AGAIN = seconds(5);

/** Ends what servers have on hosts that have left the cloud for good: nobody else can confirm that it is gone. */
export class HostRetirements {
  private cancel: (() => void) | undefined;
  private stopped = false;

  constructor(
    private readonly core: GatewayCore,
    private readonly onError: (where: string, error: unknown) => void,
  ) {}

  start(): void {
    this.core.observe((event) => {
      this.see(event).catch((error) => this.later(error));
    });
    // What this replica, or one before it, projected and could not end.
    void this.sweep();
  }

  stop(): void {
    this.stopped = true;
    this.cancel?.();
  }

  private async sweep(): Promise<void> {
    try {
      const retired = await (await this.core.fresh()).find(hostTable, { where: { retired: true } });
      for (const { id } of retired) await this.empty(id as HostId);
    } catch (error) {
      this.later(error);
    }
  }

  /** Whatever could not be ended now is looked for again. */
  private later(error: unknown): void {
    this.onError('retired hosts', error);
    if (this.stopped || this.cancel) return;
    this.cancel = this.core.clock.after(AGAIN, () => {
      this.cancel = undefined;
      void this.sweep();
    });
  }

  private async see(event: RecordedEvent): Promise<void> {
    if (event.type === 'HostRetired') return this.empty((event.data as { hostId: HostId }).hostId);
    if (!isServerEvent(event) || !leaves.has(event.type)) return;
    const server = await this.core.readModel.get(serverTable, event.data.serverId);
    if (!server) return;
    const { placement, remains = [] } = server;
    for (const host of new Set([placement?.host, ...remains.map((r) => r.placement.host)]))
      if (host && (await this.core.readModel.get(hostTable, host))?.retired) await this.end(server, host);
  }

  private async empty(hostId: HostId): Promise<void> {
    const rows = this.core.readModel;
    const placed = await rows.find(serverTable, { where: { onHost: hostId } });
    const left = await rows.find(remainsTable, { where: { hostId } });
    const remaining = await rows.getMany(
      serverTable,
      left.map(({ serverId }) => serverId),
    );
    // One that cannot be ended now keeps none of the others back.
    for (const server of [...placed, ...remaining.values()])
      await this.end(server, hostId).catch((error) => this.later(error));
  }

  private async end(server: ServerRow, host: HostId): Promise<void> {
    const { requestId, correlationId, eventId } = server.pending!;
    const context: CommandContext = {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId: requestId as RequestId,
      correlationId: correlationId as RequestId,
      causationId: eventId as EventId,
      commandId: `retired:${server.id}:${host}:${server.changedAt}` as CommandId,
    };
    const command = { type: 'endOnRetired', serverId: server.id, host, now: this.core.clock.now() } as const;
    await this.core.commands.execute(serverAggregate, server.id, command, context);
  }
}
