import {
  type HostId,
  type NetworkEvent,
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
  hostId: HostId | null;
}

const serverTypes = new Set(Object.keys(serverEvents.events));
const portTypes = new Set(Object.keys(portEvents.events));

/** Until its ports are made, a server has the networks it asked for; of older releases some left the choice to the build. */
const networksOf = ({ networks }: Created): string[] =>
  typeof networks === 'string' ? [] : networks.flatMap((n) => n.networkId ?? []);

/** What the gateway would ask the scheduler for a server, as a fold of the log. */
export class PastRequests {
  private readonly servers = new Map<string, Asked>();
  private readonly ports = new Map<string, PlacedPort>();
  /** Networks that span machines. */
  private readonly physical = new Set<string>();
  private readonly portsOf = new Map<string, Set<string>>();

  apply(event: RecordedEvent): void {
    if (serverTypes.has(event.type)) this.applyServer(event as unknown as ServerEvent);
    else if (portTypes.has(event.type)) this.applyPort(event as unknown as PortEvent);
    else if (event.type === 'NetworkCreated') this.applyNetwork(event as unknown as NetworkEvent);
  }

  /**
   * @param placeOf where a port is that the log has on `hostId`; the same, unless something had been different
   * @returns undefined when the log has no such server
   */
  request(
    serverId: ServerId,
    attempt: number,
    placeOf: (hostId: HostId, serverId: string | null) => HostId = (hostId) => hostId,
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
      networkHosts: this.hostsOf(asked.networks, placeOf),
      position: 0,
    };
  }

  /** Hosts that have ports of the networks, but for those that span machines. */
  private hostsOf(networks: readonly string[], placeOf: (hostId: HostId, serverId: string | null) => HostId): HostId[] {
    const hosts = new Set<HostId>();
    for (const network of networks)
      if (!this.physical.has(network))
        for (const id of this.portsOf.get(network) ?? []) {
          const { hostId, serverId } = this.ports.get(id)!;
          if (hostId !== null) hosts.add(placeOf(hostId, serverId));
        }
    return [...hosts];
  }

  private applyServer({ type, data }: ServerEvent): void {
    if (type === 'ServerCreateRequested' || type === 'ServerAdoptionRequested') {
      this.servers.set(data.serverId, {
        created: data,
        zone: data.availabilityZone,
        networks: networksOf(data),
        failed: [],
      });
      return;
    }
    const server = this.servers.get(data.serverId);
    if (!server) return;
    if (type === 'ServerPortsAllocated') server.networks = [...new Set(data.ports.map((p) => p.networkId))];
    if (type === 'ServerZonePinned') server.zone = data.availabilityZone;
    if (type === 'ServerSpawnFailed') server.failed.push(data.host);
    if (type === 'ServerResourcesReleased' || type === 'ServerCreateAbandoned') this.servers.delete(data.serverId);
  }

  private applyNetwork({ type, data }: NetworkEvent): void {
    if (type === 'NetworkCreated' && data.attributes.provider) this.physical.add(data.networkId);
  }

  private applyPort({ type, data }: PortEvent): void {
    const port = this.ports.get(data.portId);
    switch (type) {
      case 'PortCreated':
        this.ports.set(data.portId, {
          networkId: data.networkId,
          serverId: data.madeFor,
          hostId: data.host?.id ?? null,
        });
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
