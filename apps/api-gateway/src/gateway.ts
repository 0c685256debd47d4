import { type ProjectId, reserve } from '@omnivisor/contracts';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import { hostTable } from './compute/host/host.projection.js';
import { HostDesk } from './compute/host/host-desk.js';
import { LiveAnswers } from './compute/host/live-answers.js';
import { quotaAggregate } from './compute/quota/quota.js';
import { ownerOf, ReservationProcess } from './compute/server/reservation.process.js';
import { ServerProcess } from './compute/server/server.process.js';
import type { ServerRow } from './compute/server/server.projection.js';
import { leaveGroup } from './compute/server-group/leave-group.js';
import { GatewayCore, type GatewayPorts } from './core/gateway-core.js';
import { GuestDesk } from './metadata/guest-desk.js';
import { PortReservationProcess } from './network/port/port-reservation.process.js';
import { ServerPorts } from './network/server-ports.js';
import { gatewayProjections } from './projections.js';

/**
 * One replica of the gateway without its HTTP: commands, processes and what hosts and operators are answered. Plain code
 * on ports; Nest wires it to the world, a spec to memory and virtual time.
 */
export class Gateway {
  readonly core: GatewayCore;
  readonly live: LiveAnswers;
  readonly serverPorts: ServerPorts;
  private readonly hosts: HostDesk;

  constructor(
    ports: GatewayPorts,
    private readonly vault: Vault,
    onError: (where: string, error: unknown) => void,
  ) {
    this.core = new GatewayCore(ports, gatewayProjections, onError);
    this.live = new LiveAnswers(this.core);
    this.serverPorts = new ServerPorts(this.core);
    const guests = new GuestDesk(this.core, this.serverPorts, vault);
    this.hosts = new HostDesk(
      this.core,
      {
        plugs: (rows, serverIds) => this.serverPorts.plugs(rows, serverIds),
        plans: (rows, networkIds) => this.serverPorts.plans(rows, networkIds),
        hostsTouchedBy: (event, rows) => this.serverPorts.hostsTouchedBy(event, rows),
        boot: (server, host) => guests.boot(server, host),
        metadata: (rows, host, request) => guests.metadata(rows, host, request),
      },
      onError,
    );
    this.core.run(
      new ServerProcess(this.core, {
        allocatePorts: (server, context) => this.allocatePorts(server, context),
        bindPorts: (server, { host, hostName }, context) => this.serverPorts.bind(server.id, host, hostName, context),
        machines: (ports) => this.machines(ports.map((p) => p.networkId)),
        release: (server, context) => this.release(server, context),
        reserve: (request) => this.core.bus.request(reserve, request),
      }),
    );
    this.core.run(new ReservationProcess(this.core));
    this.core.run(new PortReservationProcess(this.core));
  }

  async start(): Promise<void> {
    await this.core.start();
    await this.live.start();
    await this.hosts.start();
  }

  async stop(): Promise<void> {
    await this.hosts.stop();
    await this.live.stop();
    await this.core.stop();
  }

  private async allocatePorts(server: ServerRow, context: Parameters<ServerPorts['allocate']>[1]) {
    return this.serverPorts.allocate(
      {
        serverId: server.id,
        projectId: server.projectId,
        hostname: server.hostname,
        requested:
          typeof server.networks === 'string'
            ? await this.serverPorts.resolve(server.projectId, false, server.networks)
            : [...server.networks],
        securityGroups: [...server.securityGroups],
      },
      context,
    );
  }

  /** Machines that these networks are on: a network cannot span machines yet. */
  private async machines(networkIds: string[]): Promise<string[]> {
    const rows = await this.core.fresh();
    return this.serverPorts.machinesOf(rows, networkIds, async (hostId: string) => {
      const host = await rows.get(hostTable, hostId);
      return host?.facts?.machineId ?? null;
    });
  }

  private async release(server: ServerRow, context: Parameters<ServerPorts['release']>[1]): Promise<void> {
    await this.serverPorts.release(server.id, context);
    await this.core.commands.execute(
      quotaAggregate,
      server.projectId,
      { type: 'release', projectId: server.projectId as ProjectId, owner: ownerOf(server.id) },
      context,
    );
    await leaveGroup(this.core, server, context);
    if (server.userData) await this.vault.erase(server.userData.ref);
  }
}
