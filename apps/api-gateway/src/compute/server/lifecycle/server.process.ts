import {
  after,
  type CommandContext,
  type CommandId,
  type EventId,
  type RecordedEvent,
  type ReserveReply,
  type ReserveRequest,
  type ServerEvent,
  type ServerId,
  serverEvents,
} from '@omnivisor/contracts';
import { type Process, streamOf } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../../core/gateway-core.js';
import { ServerMoves } from '../move/server-moves.js';
import { isServerEvent, serverTable } from '../view/server.projection.js';
import { ImageLooks } from './image-looks.js';
import { INTERFACE_DEADLINE, stretched, taskDeadlines } from './server-deadlines.js';
import { type ServerCommand, serverAggregate } from './server-lifecycle.js';
import { beginsWork, begunBy, nextStep, SERVER_PROCESS, type ServerStep } from './server-next-step.js';
import { type BuildServer, isFinal, type ServerProcessPorts } from './server-process-ports.js';

/**
 * Takes a server from its request to its host, and back after its deletion. Looks at what the log says and goes on
 * from there; every step may run twice.
 */
export class ServerProcess implements Process {
  readonly name = SERVER_PROCESS;
  private readonly moves: ServerMoves;
  private readonly looks: ImageLooks;

  /** @param patience times as long as usual that hosts may take */
  constructor(
    private readonly core: GatewayCore,
    private readonly ports: ServerProcessPorts,
    private readonly patience = 1,
  ) {
    this.looks = new ImageLooks((imageId) => ports.readiness(imageId));
    this.moves = new ServerMoves(ports, {
      reservation: (server, attempt) => this.reservation(server, attempt),
      send: (server, command, step) => this.send(server, command, this.context(server, step)),
      context: (server, step) => this.context(server, step),
    });
  }

  begins(event: RecordedEvent): string | undefined {
    return isServerEvent(event) && beginsWork(event) ? event.data.serverId : undefined;
  }

  async step(id: string, cause?: RecordedEvent): Promise<void> {
    if (cause) return this.goOn(id, cause as RecordedEvent & ServerEvent);
    // The row as this replica has it: a step on an older one is refused by the decider, and the newer row falls due.
    const server = (await this.core.readModel.get(serverTable, id)) as BuildServer | undefined;
    const next = server && nextStep(server, this.patience);
    if (!server || !next) return;
    const now = this.core.clock.now();
    const { taskState, taskSince } = server;
    if (taskState && taskSince && after(taskSince, stretched(taskDeadlines[taskState], this.patience)) <= now)
      return this.expire(server);
    if (next.at > now) return;
    return this.take(next.step, server);
  }

  private take(step: ServerStep, server: BuildServer): Promise<void> {
    switch (step) {
      case 'schedule':
        return this.schedule(server);
      case 'expireTask':
        return this.expire(server);
      case 'releaseInterfaces':
        return this.releaseInterfaces(server);
      case 'expireInterface':
        return this.expireInterfaces(server);
      case 'place':
        return this.moves.place(server);
      case 'land':
        return this.moves.land(server);
      case 'returnHome':
        return this.moves.returnHome(server);
      case 'dropTransfers':
        return this.moves.dropTransfers(server);
      case 'settleQuota':
        return this.settleQuota(server);
      case 'dropImages':
        return this.dropImages(server);
      case 'release':
        return this.release(server);
    }
  }

  private async goOn(id: string, cause: RecordedEvent & ServerEvent): Promise<void> {
    const state = this.core.commands.remembered(serverAggregate, id);
    const step = state && begunBy(cause, state);
    if (!step) return;
    const { recordedAt: at, position: changedAt, context } = cause;
    const { requestId, correlationId } = context;
    const pending = { requestId, correlationId, eventId: cause.id };
    const server: BuildServer = { ...state, id: id as ServerId, changedAt, updatedAt: at, taskSince: at, pending };
    return this.take(step, server);
  }

  private async schedule(server: BuildServer): Promise<void> {
    const attempt = server.attempt + 1;
    let reply: ReserveReply;
    try {
      const network = await this.ports.network(server);
      reply = await this.ports.reserve({ ...(await this.reservation(server, attempt)), ...network });
    } catch (error) {
      if (!isFinal(error)) throw error;
      return this.fail(server, error.message);
    }
    if (reply.kind === 'refused') return this.fail(server, reply.message + (await this.lastWords(server)));
    const { kind: _, hostId: host, ...place } = reply;
    try {
      const on = { id: host, name: place.hostName };
      const ports = await this.ports.plug(server, on, this.context(server, `ports-${attempt}`));
      const schedule = { serverId: server.id, host, attempt, ...place };
      await this.send(server, { type: 'schedule', schedule, ports }, this.context(server, `schedule-${attempt}`));
    } catch (error) {
      if (!isFinal(error)) throw error;
      await this.fail(server, error.message);
    }
  }

  private async reservation(server: BuildServer, attempt: number): Promise<Omit<ReserveRequest, 'networkHosts'>> {
    return {
      serverId: server.id,
      attempt,
      projectId: server.projectId,
      userId: server.userId,
      flavor: server.flavor,
      // Scheduling obeys what was found of the guest inside; only a first build waits for that.
      image: await this.looks.at(server.image, attempt === 1),
      availabilityZone: server.requestedZone,
      requestedHost: server.requestedHost,
      hints: { ...server.hints },
      excludeHosts: [...server.failedHosts],
      position: server.changedAt,
      context: this.context(server, `reserve-${attempt}`),
    };
  }

  /** What the newest of the hosts that failed said: it is why there was another search. */
  private async lastWords({ id, failedHosts }: BuildServer): Promise<string> {
    if (failedHosts.length === 0) return '';
    const events = (await this.core.store.readStream(streamOf(serverEvents, id))) as unknown as ServerEvent[];
    const failed = events.findLast((event) => event.type === 'ServerSpawnFailed');
    return failed ? ` ${failed.data.reason}` : '';
  }

  private async fail(server: BuildServer, message: string): Promise<void> {
    const attempt = server.attempt + 1;
    const { state } = await this.send(
      server,
      { type: 'failBuild', serverId: server.id, attempt, fault: { code: 500, message } },
      this.context(server, `fail-${attempt}`),
    );
    // Deleted meanwhile: what this step has made may have come after the release.
    if (state.vmState === 'deleted') await this.ports.release(server, this.context(server, `undo-${attempt}`));
  }

  private async expire(server: BuildServer): Promise<void> {
    if (!server.taskState) return;
    await this.send(
      server,
      {
        type: 'expireTask',
        serverId: server.id,
        task: server.taskState,
        generation: server.generation,
        now: this.core.clock.now(),
      },
      this.context(server, `expire-${server.taskState}-${server.generation}`),
    );
  }

  private async releaseInterfaces(server: BuildServer): Promise<void> {
    for (const portId of server.releasing ?? []) {
      const context = this.context(server, `release-${portId}-${server.changedAt}`);
      await this.ports.releasePort(server, portId, context);
      await this.send(server, { type: 'confirmInterfaceReleased', serverId: server.id, portId }, context);
    }
  }

  private async settleQuota(server: BuildServer): Promise<void> {
    const context = this.context(server, `quota-${server.generation}-${server.attempt}`);
    await this.ports.settleQuota(server, context);
    const { id: serverId, generation } = server;
    await this.send(server, { type: 'confirmQuotaSettled', serverId, generation }, context);
  }

  private async dropImages(server: BuildServer): Promise<void> {
    for (const imageId of server.imagesToDrop ?? []) {
      const context = this.context(server, `drop-${imageId}`);
      await this.ports.dropImage(imageId, context);
      await this.send(server, { type: 'confirmSnapshotDropped', serverId: server.id, imageId }, context);
    }
  }

  private async expireInterfaces(server: BuildServer): Promise<void> {
    const now = this.core.clock.now();
    for (const { portId, since } of server.interfaces ?? [])
      if (since !== null && after(since, stretched(INTERFACE_DEADLINE, this.patience)) <= now)
        await this.send(
          server,
          { type: 'expireInterface', serverId: server.id, portId, since },
          this.context(server, `expire-${portId}-${since}`),
        );
  }

  private async release(server: BuildServer): Promise<void> {
    const context = this.context(server, 'release');
    await this.ports.release(server, context);
    await this.send(server, { type: 'confirmReleased', serverId: server.id }, context);
  }

  private send(server: BuildServer, command: ServerCommand, context: CommandContext) {
    return this.core.commands.execute(serverAggregate, server.id, command, context);
  }

  /** The command id follows from the step: doing it twice has one effect. */
  private context(server: BuildServer, step: string): CommandContext {
    return {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId: server.pending.requestId as CommandContext['requestId'],
      correlationId: server.pending.correlationId as CommandContext['correlationId'],
      causationId: server.pending.eventId as EventId,
      commandId: `${SERVER_PROCESS}:${server.id}:${step}` as CommandId,
    };
  }
}
