import {
  type HostId,
  type PortEvent,
  portEvents,
  type RecordedEvent,
  type ReserveRequest,
  type ServerEvent,
  type ServerId,
  serverEvents,
} from '@omnivisor/contracts';

export type PlainRequest = Omit<ReserveRequest, 'context'>;
type Created = Extract<ServerEvent, { type: 'ServerCreateRequested' }>['data'];

interface Asked {
  readonly created: Created;
  zone: string | null;
  networks: readonly string[];
  readonly failed: HostId[];
}
interface PlacedPort {
  readonly networkId: string;
  serverId: string | null;
  hostId: string | null;
}

const serverTypes = new Set(Object.keys(serverEvents.events));
const portTypes = new Set(Object.keys(portEvents.events));

/** What the gateway would ask the scheduler for a server, as a fold of the log. */
export class PastRequests {
  private readonly servers = new Map<string, Asked>();
  private readonly ports = new Map<string, PlacedPort>();
  private readonly portsOf = new Map<string, Set<string>>();

  apply(event: RecordedEvent): void {
    if (serverTypes.has(event.type)) this.applyServer(event as unknown as ServerEvent);
    else if (portTypes.has(event.type)) this.applyPort(event as unknown as PortEvent);
  }

  /**
   * @param machineOf where a port that the log has on `hostId` is; null for nowhere
   * @returns undefined when the log has no such server
   */
  request(
    serverId: ServerId,
    attempt: number,
    machineOf: (hostId: string, serverId: string | null) => string | null,
  ): PlainRequest | undefined {
    const asked = this.servers.get(serverId);
    if (!asked) return undefined;
    const { created, zone, failed } = asked;
    return {
      serverId,
      attempt,
      projectId: created.projectId,
      userId: created.userId,
      flavor: created.flavor,
      image: created.image,
      availabilityZone: zone,
      requestedHost: created.requestedHost,
      hints: created.hints,
      excludeHosts: [...failed],
      machineIds: this.machines(asked.networks, machineOf),
    };
  }

  /** Machines that the networks are on: a network cannot span machines yet. */
  private machines(
    networks: readonly string[],
    machineOf: (hostId: string, serverId: string | null) => string | null,
  ): string[] {
    const machines = new Set<string>();
    for (const network of networks)
      for (const id of this.portsOf.get(network) ?? []) {
        const { hostId, serverId } = this.ports.get(id)!;
        const machine = hostId === null ? null : machineOf(hostId, serverId);
        if (machine !== null) machines.add(machine);
      }
    return [...machines];
  }

  private applyServer({ type, data }: ServerEvent): void {
    if (type === 'ServerCreateRequested') {
      this.servers.set(data.serverId, { created: data, zone: data.availabilityZone, networks: [], failed: [] });
      return;
    }
    const server = this.servers.get(data.serverId);
    if (!server) return;
    if (type === 'ServerPortsAllocated') server.networks = [...new Set(data.ports.map((p) => p.networkId))];
    if (type === 'ServerZonePinned') server.zone = data.availabilityZone;
    if (type === 'ServerSpawnFailed') server.failed.push(data.host);
    if (type === 'ServerResourcesReleased' || type === 'ServerCreateAbandoned') this.servers.delete(data.serverId);
  }

  private applyPort({ type, data }: PortEvent): void {
    const port = this.ports.get(data.portId);
    switch (type) {
      case 'PortCreated':
        this.ports.set(data.portId, { networkId: data.networkId, serverId: data.madeFor, hostId: null });
        this.portsOf.set(data.networkId, (this.portsOf.get(data.networkId) ?? new Set()).add(data.portId));
        return;
      case 'PortAttached':
        if (port) port.serverId = data.serverId;
        return;
      case 'PortBound':
        if (port) port.hostId = data.hostId;
        return;
      case 'PortDetached':
        if (port) Object.assign(port, { serverId: null, hostId: null });
        return;
      case 'PortDeleted':
        this.ports.delete(data.portId);
        if (port) this.portsOf.get(port.networkId)?.delete(data.portId);
        return;
      default:
        return;
    }
  }
}
