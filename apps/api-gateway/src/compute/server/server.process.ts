import {
  after,
  type CommandContext,
  type CommandId,
  DomainError,
  type EventId,
  type HostId,
  type ReserveReply,
  type ReserveRequest,
  type ServerPort,
} from '@omnivisor/contracts';
import type { Process } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';
import { type ServerRow, serverTable } from './server.projection.js';
import { taskDeadlines } from './server-deadlines.js';
import { type ServerCommand, serverAggregate } from './server-lifecycle.js';
import { nextStep, SERVER_PROCESS } from './server-next-step.js';

/** What the process needs of other parts of the cloud. Each call may be repeated. */
export interface ServerProcessPorts {
  /** Makes or takes over the ports of the server. @throws DomainError when that cannot be */
  allocatePorts(server: ServerRow, context: CommandContext): Promise<readonly ServerPort[]>;
  /** Tells the ports which host they are on. */
  bindPorts(
    server: ServerRow,
    to: { readonly host: HostId; readonly hostName: string },
    context: CommandContext,
  ): Promise<void>;
  /** Machines that the networks of the ports are on already. */
  machines(ports: readonly ServerPort[]): Promise<string[]>;
  /** Gives back ports, quota and secrets of a deleted server. */
  release(server: ServerRow, context: CommandContext): Promise<void>;
  reserve(request: ReserveRequest): Promise<ReserveReply>;
}

/** Kinds of errors that another try will not mend. */
const isFinal = (error: unknown): error is DomainError =>
  error instanceof DomainError && error.kind !== 'unavailable' && error.kind !== 'rateLimited';

/**
 * Takes a server from its request to its host, and back after its deletion. Looks at what the log says and goes on
 * from there; every step may run twice.
 */
export class ServerProcess implements Process {
  readonly name = SERVER_PROCESS;

  constructor(
    private readonly core: GatewayCore,
    private readonly ports: ServerProcessPorts,
  ) {}

  async step(id: string): Promise<void> {
    // The row as this replica has it: a step on an older one is refused by the decider, and the newer row falls due.
    const server = await this.core.readModel.get(serverTable, id);
    const next = server && nextStep(server);
    if (!server || !next) return;
    const now = this.core.clock.now();
    if (server.taskState && server.taskSince && after(server.taskSince, taskDeadlines[server.taskState]) <= now)
      return this.expire(server);
    if (next.at > now) return;
    switch (next.step) {
      case 'allocatePorts':
        return this.allocate(server);
      case 'schedule':
        return this.schedule(server);
      case 'release':
        return this.release(server);
      case 'expireTask':
        return this.expire(server);
    }
  }

  private async allocate(server: ServerRow): Promise<void> {
    const context = this.context(server, 'ports');
    let allocated: ServerRow;
    try {
      const ports = await this.ports.allocatePorts(server, context);
      const { state } = await this.core.commands.execute(
        serverAggregate,
        server.id,
        { type: 'allocatePorts', serverId: server.id, ports },
        context,
      );
      allocated = { ...server, ...state, id: server.id };
    } catch (error) {
      if (!isFinal(error)) throw error;
      return this.fail(server, error.message);
    }
    // The next step needs no other look at the worklist; after a crash here it finds the same way.
    if (allocated.taskState === 'scheduling' && allocated.ports) await this.schedule(allocated);
  }

  private async schedule(server: ServerRow): Promise<void> {
    const attempt = server.attempt + 1;
    const context = this.context(server, `reserve-${attempt}`);
    let reply: ReserveReply;
    try {
      reply = await this.ports.reserve({
        serverId: server.id,
        attempt,
        projectId: server.projectId,
        userId: server.userId,
        flavor: server.flavor,
        image: server.image,
        availabilityZone: server.requestedZone,
        requestedHost: server.requestedHost,
        hints: { ...server.hints },
        excludeHosts: [...server.failedHosts],
        machineIds: await this.ports.machines(server.ports ?? []),
        context,
      });
    } catch (error) {
      if (!isFinal(error)) throw error;
      return this.fail(server, error.message);
    }
    if (reply.kind === 'refused') return this.fail(server, reply.message);
    const { kind: _, hostId: host, ...place } = reply;
    try {
      // Before the host hears of the server: a bind that fails is tried again with the whole step.
      await this.ports.bindPorts(server, { host, hostName: place.hostName }, this.context(server, `bind-${attempt}`));
      await this.core.commands.execute(
        serverAggregate,
        server.id,
        { type: 'schedule', schedule: { serverId: server.id, host, attempt, ...place } },
        this.context(server, `schedule-${attempt}`),
      );
    } catch (error) {
      if (!isFinal(error)) throw error;
      // The server does not want this attempt any more: say so, and the scheduler releases the claim.
      await this.send(
        server,
        { type: 'abandonAttempt', serverId: server.id, attempt, reason: error.message },
        this.context(server, `abandon-${attempt}`),
      );
    }
  }

  private async fail(server: ServerRow, message: string): Promise<void> {
    await this.send(
      server,
      { type: 'failBuild', serverId: server.id, fault: { code: 500, message } },
      this.context(server, `fail-${server.attempt}`),
    );
  }

  private async expire(server: ServerRow): Promise<void> {
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

  private async release(server: ServerRow): Promise<void> {
    const context = this.context(server, 'release');
    await this.ports.release(server, context);
    await this.send(server, { type: 'confirmReleased', serverId: server.id }, context);
  }

  private async send(server: ServerRow, command: ServerCommand, context: CommandContext): Promise<void> {
    await this.core.commands.execute(serverAggregate, server.id, command, context);
  }

  /** The command id follows from the step: doing it twice has one effect. */
  private context(server: ServerRow, step: string): CommandContext {
    return {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId: server.pending!.requestId as CommandContext['requestId'],
      correlationId: server.pending!.correlationId as CommandContext['correlationId'],
      causationId: server.pending!.eventId as EventId,
      commandId: `${SERVER_PROCESS}:${server.id}:${step}` as CommandId,
    };
  }
}
