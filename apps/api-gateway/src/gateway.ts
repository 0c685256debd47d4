import {
  abortSnapshotImage,
  type CommandContext,
  completeSnapshotImage,
  deleteDiskTransfer,
  inspectImage,
  type ProjectId,
  type RequestedNetwork,
  type ReserveRequest,
  reserve,
  type ServerPort,
  seconds,
} from '@omnivisor/contracts';
import { PersonalKeys, PersonalStore } from '@omnivisor/eventsourcing/personal';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import { type HostRow, hostTable, straysOf } from './compute/host/host.projection.js';
import { HostDesk } from './compute/host/host-desk.js';
import { LiveAnswers } from './compute/host/live-answers.js';
import { defaultQuota } from './compute/quota/defaults.js';
import { quotaAggregate } from './compute/quota/quota.js';
import { diskUpload, snapshotUpload } from './compute/server/actions/snapshot-upload.js';
import { ownerOf, quotaFor, serverReservation } from './compute/server/create/server.reservation.js';
import { ServerProcess } from './compute/server/lifecycle/server.process.js';
import type { BuildServer } from './compute/server/lifecycle/server-process-ports.js';
import { leaveGroup } from './compute/server-group/leave-group.js';
import { GatewayCore, type GatewayPorts } from './core/gateway-core.js';
import { settled } from './core/settled.js';
import { GuestDesk } from './metadata/guest-desk.js';
import { networkReservations } from './network/network.reservations.js';
import { type PlugRequest, ServerPorts } from './network/server-ports.js';
import { gatewayProjections } from './projections.js';
import { ReservationProcess } from './reservation/reservation.process.js';

/** How long a host may take to make a shell for a guest. */
const RECEIVING = seconds(50);

const sendingHost = (host: HostRow | undefined) =>
  host?.facts ? { ...host.facts, format: host.facts.snapshotFormats?.[0] } : undefined;

/**
 * One replica of the gateway without its HTTP: commands, processes and what hosts and operators are answered. Plain code
 * on ports; Nest wires it to the world, a spec to memory and virtual time.
 */
export class Gateway {
  readonly core: GatewayCore;
  readonly personalKeys: PersonalKeys;
  readonly live: LiveAnswers;
  readonly serverPorts: ServerPorts;
  private readonly hosts: HostDesk;

  /** @param patience times as long as usual that hosts may take for what they are asked */
  constructor(
    ports: GatewayPorts,
    private readonly vault: Vault,
    onError: (where: string, error: unknown) => void,
    patience = 1,
  ) {
    this.personalKeys = new PersonalKeys(ports.store, vault, () => Date.parse(ports.clock.now()));
    const store = new PersonalStore(ports.store, this.personalKeys);
    this.core = new GatewayCore({ ...ports, store }, gatewayProjections, onError);
    this.live = new LiveAnswers(this.core);
    this.serverPorts = new ServerPorts(this.core);
    const guests = new GuestDesk(this.core, this.serverPorts, vault);
    this.hosts = new HostDesk(
      this.core,
      {
        plugs: (rows, servers) => this.serverPorts.plugs(rows, servers),
        plans: (rows, networkIds) => this.serverPorts.plans(rows, networkIds),
        news: (rows, host, since) => this.serverPorts.news(rows, host, since),
        serversWithNews: (rows, host, since) => this.serverPorts.serversWithNews(rows, host, since),
        hostsTouchedBy: (event, rows) => this.serverPorts.hostsTouchedBy(event, rows),
        regroupedBy: (event) => this.serverPorts.regroupedBy(event),
        hostsThatTrust: (rows, groups) => this.serverPorts.hostsThatTrust(rows, groups),
        boot: (server, image, host, formats) => guests.boot(server, image, host, formats),
        kernel: (image, host) => guests.kernel(image, host),
        upload: (server, host, disk) =>
          server.operation?.kind === 'migrate'
            ? diskUpload(this.core, server, host, disk)
            : snapshotUpload(this.core, server, host),
        receive: (host, question) => this.live.ask(host, { kind: 'receive', ...question }, RECEIVING),
        metadata: (rows, host, request) => guests.metadata(rows, host, request),
      },
      onError,
    );
    this.core.run(
      new ServerProcess(
        this.core,
        {
          network: (server) => this.networkWants(server),
          readiness: async (imageId) => (await this.core.bus.request(inspectImage, { imageId })).readiness,
          reserve: (request) => this.core.bus.request(reserve, request),
          plug: (server, host, context) => this.plug(server, host, context),
          takeQuota: async (server, context) => {
            const command = { ...quotaFor(server), defaults: defaultQuota };
            await this.core.commands.execute(quotaAggregate, server.projectId, command, context);
          },
          settleQuota: async (server, context) =>
            void (await this.core.commands.execute(quotaAggregate, server.projectId, quotaFor(server), context)),
          dropImage: async (imageId, context) =>
            void (await this.core.bus.request(abortSnapshotImage, { imageId, context })),
          dropTransfer: async (transferId, context) =>
            void (await this.core.bus.request(deleteDiskTransfer, { transferId, context })),
          sends: async (host) => sendingHost(await (await this.core.fresh()).get(hostTable, host)),
          strays: async (serverId) => straysOf(await (await this.core.fresh()).find(hostTable), serverId),
          sent: (imageId) => this.core.bus.request(completeSnapshotImage, { imageId }),
          releasePort: ({ id }, portId, context) => this.serverPorts.releaseOne(id, portId, context),
          release: (server, context) => this.release(server, context),
        },
        patience,
      ),
    );
    this.core.run(new ReservationProcess(this.core, { server: serverReservation, ...networkReservations }));
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

  /** The networks that a server asks for; servers of older releases left the choice to their build. */
  private async networksOf({ networks, projectId }: BuildServer): Promise<readonly RequestedNetwork[]> {
    return typeof networks === 'string'
      ? this.serverPorts.resolve(await this.core.fresh(), projectId, false, networks)
      : networks;
  }

  private async plug(
    server: BuildServer,
    host: PlugRequest['host'],
    context: CommandContext,
  ): Promise<readonly ServerPort[]> {
    const { id: serverId, projectId, hostname, securityGroups, ports } = server;
    if (ports) {
      await this.serverPorts.move(ports, { serverId, host }, context);
      return ports;
    }
    const requested = await this.networksOf(server);
    return this.serverPorts.plug({ serverId, projectId, hostname, requested, securityGroups, host }, context);
  }

  private async networkWants(server: BuildServer): Promise<Pick<ReserveRequest, 'networkHosts' | 'networkNeeds'>> {
    const { projectId, securityGroups } = server;
    const ports = server.ports ?? (await this.networksOf(server));
    const rows = this.core.readModel;
    const [networkHosts, networkNeeds] = await settled([
      this.serverPorts.hostsOf(
        rows,
        ports.flatMap((p) => p.networkId ?? []),
      ),
      this.serverPorts.needs(rows, { projectId, securityGroups, ports }),
    ]);
    return { networkHosts, networkNeeds };
  }

  private async release(server: BuildServer, context: CommandContext): Promise<void> {
    await this.serverPorts.release(server.id, context);
    await this.core.commands.execute(
      quotaAggregate,
      server.projectId,
      { type: 'release', projectId: server.projectId as ProjectId, owner: ownerOf(server.id) },
      context,
    );
    await leaveGroup(this.core, server, context);
    for (const secret of [server.userData, server.injectedFiles, ...(server.formerSecrets ?? [])])
      if (secret) await this.vault.erase(secret.ref);
  }
}
