import {
  type CommandContext,
  conflict,
  DomainError,
  type HostId,
  type hostBus,
  type NetworkId,
  type NetworkNeed,
  type PortId,
  type Position,
  type ProjectId,
  type RecordedEvent,
  type RequestedNetwork,
  type SecurityGroupId,
  type ServerId,
  type ServerPort,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { uuidV5 } from '@omnivisor/platform/ports';
import type { GatewayCore } from '../core/gateway-core.js';
import { settled } from '../core/settled.js';
import { canonicalAddress } from './common/addresses.js';
import { step } from './common/context.js';
import { statelessGroup } from './common/errors.js';
import { type HostNetworkNews, newsForHost } from './host-network-news.js';
import { hostsOf, hostsThatTrust, hostsTouchedBy, regroupedBy } from './hosts-touched.js';
import { type NetworkRow, networkTable } from './network/network.projection.js';
import { networkPlans } from './network/network-plans.js';
import { needsOf } from './port/network-needs.js';
import { type Port, port } from './port/port.js';
import { type PortRow, portTable } from './port/port.projection.js';
import { addressKey, addressTable } from './port/port-outlines.projection.js';
import { portPlugs } from './port/port-plugs.js';
import { Ports } from './port/ports.js';
import { defaultGroupId, ensureDefaultGroup } from './security-group/default-group.js';
import { type SecurityGroupRow, securityGroupTable } from './security-group/security-group.projection.js';
import { subnetTable } from './subnet/subnet.projection.js';

const bad = (name: string, message: string) => new DomainError('invalid', message, { name });

/** @throws DomainError for a group that hosts cannot enforce */
const stateful = (group: SecurityGroupRow): SecurityGroupId => {
  if (!group.stateful) throw statelessGroup(group.id);
  return group.id;
};

export interface PlugRequest {
  readonly serverId: string;
  readonly projectId: string;
  readonly hostname: string;
  readonly requested: readonly RequestedNetwork[];
  readonly securityGroups: readonly string[];
  /** Where the server has a place. */
  readonly host: NonNullable<Port['host']>;
}

type AttachRequest = Omit<PlugRequest, 'requested'>;

/** What a server needs of the network, from its request to its deletion. */
export class ServerPorts {
  private readonly ports: Ports;

  constructor(private readonly core: GatewayCore) {
    this.ports = new Ports(core);
  }

  /**
   * Checks a request's networks, and says which they are. 'auto' is the only usable network of the project, or none.
   * @throws DomainError in Nova's words
   */
  async resolve(
    rows: RowReader,
    projectId: string,
    isAdmin: boolean,
    networks: 'auto' | 'none' | readonly RequestedNetwork[],
  ): Promise<RequestedNetwork[]> {
    if (networks === 'none') return [];
    if (networks === 'auto') {
      const usable = await this.usableNetworks(rows, projectId);
      if (usable.length > 1)
        throw new DomainError('conflict', 'Multiple possible networks found, use a Network ID to be more specific.', {
          name: 'NetworkAmbiguous',
        });
      return usable.map((n) => ({ networkId: n.id, portId: null, fixedIp: null, tag: null }));
    }
    const seen = new Set<string>();
    for (const { portId } of networks)
      if (portId !== null) {
        if (seen.has(portId)) throw bad('PortInUse', `Port ${portId} is still in use.`);
        seen.add(portId);
      }
    return settled(networks.map((wanted) => this.check(rows, projectId, isAdmin, wanted)));
  }

  /**
   * Security groups of a request by name or id. `[]` leaves the choice of the default group to `plug`.
   * @throws DomainError `notFound` or `conflict` in Nova's words
   */
  async resolveSecurityGroups(
    rows: RowReader,
    projectId: string,
    names: readonly string[],
  ): Promise<SecurityGroupId[]> {
    const found = new Set<SecurityGroupId>();
    for (const name of names) {
      const byId = await rows.get(securityGroupTable, name);
      if (byId?.projectId === projectId) {
        found.add(stateful(byId));
        continue;
      }
      const named = await rows.find(securityGroupTable, { where: { projectId, name } });
      if (named.length > 1)
        throw new DomainError(
          'conflict',
          `Multiple security groups found matching '${name}'. Use an ID to be more specific.`,
          { name: 'NoUniqueMatch' },
        );
      if (named[0]) found.add(stateful(named[0]));
      else if (name !== 'default')
        throw new DomainError('notFound', `Security group ${name} not found for project ${projectId}.`, {
          name: 'SecurityGroupNotFound',
        });
    }
    return [...found];
  }

  /**
   * Makes (id = uuidV5(serverId, index)) or takes over the ports of a server, on the host that it has a place on. Doing
   * it twice gives the same ports.
   * @throws DomainError when a network, port or address is not to be had
   */
  async plug(request: PlugRequest, context: CommandContext): Promise<ServerPort[]> {
    return settled(request.requested.map((wanted, index) => this.plugOne(request, wanted, `${index}`, context)));
  }

  /**
   * Another port for a server that is there, its id made of the request. Doing it twice gives the same port.
   * @throws DomainError as `plug`
   */
  attach(request: AttachRequest, wanted: RequestedNetwork, context: CommandContext): Promise<ServerPort> {
    return this.plugOne(request, wanted, context.requestId, context);
  }

  private async plugOne(
    request: AttachRequest,
    wanted: RequestedNetwork,
    name: string,
    context: CommandContext,
  ): Promise<ServerPort> {
    const network = await this.networkOf(this.core.readModel, wanted.networkId ?? '');
    const made =
      wanted.portId === null
        ? await this.make(network, request, name, wanted, context)
        : await this.take(request, wanted.portId, context);
    await this.bind(made, request, context);
    return {
      portId: made.id!,
      networkId: made.networkId,
      networkName: network.name,
      mac: made.attributes.mac,
      fixedIps: made.attributes.fixedIps.map((ip) => ({ ...ip, version: ip.address.includes(':') ? 6 : 4 })),
      ours: made.madeFor === request.serverId,
      tag: wanted.tag,
    };
  }

  /** Moves the ports of a server, as an earlier attempt left them, to another host. */
  async move(
    ports: readonly ServerPort[],
    to: Pick<PlugRequest, 'serverId' | 'host'>,
    context: CommandContext,
  ): Promise<void> {
    await settled(ports.map(async ({ portId }) => this.bind(await this.core.commands.load(port, portId), to, context)));
  }

  /** Deletes the ports that the server's build made, gives the others back to their owner. Idempotent. */
  async release(serverId: string, context: CommandContext): Promise<void> {
    const rows = await this.core.fresh();
    const ports = await rows.find(portTable, { where: { serverId } });
    await settled(ports.map((row) => this.giveUp(serverId, row, context)));
  }

  /** As `release`, for one port. */
  async releaseOne(serverId: string, portId: PortId, context: CommandContext): Promise<void> {
    const row = await (await this.core.fresh()).get(portTable, portId);
    if (row?.serverId === serverId) await this.giveUp(serverId, row, context);
  }

  private async giveUp(serverId: string, { id, madeFor }: PortRow, context: CommandContext): Promise<void> {
    if (madeFor === serverId) return this.ports.delete(id, context);
    await this.core.commands.execute(
      port,
      id,
      { type: 'detach', portId: id, serverId: serverId as ServerId },
      step(context, `${id} detach`),
    );
  }

  /** What the host needs of each server's ports. Servers without ports are missing. */
  plugs(rows: RowReader, servers: Parameters<typeof portPlugs>[1]): Promise<Map<string, hostBus.PortPlug[]>> {
    return portPlugs(rows, servers);
  }

  /** What a machine needs to build these networks. */
  plans(rows: RowReader, networkIds: readonly string[]): Promise<hostBus.NetworkPlan[]> {
    return networkPlans(rows, networkIds);
  }

  /** What changed of the network around the ports of a host. */
  news(rows: RowReader, hostId: string, since: Position): Promise<HostNetworkNews> {
    return newsForHost(rows, hostId, since);
  }

  /** Servers whose ports on a host changed. */
  async serversWithNews(rows: RowReader, hostId: string, since: Position): Promise<string[]> {
    const ports = await rows.find(portTable, { where: { hostId, changedAt: { gt: since } } });
    return [...new Set(ports.flatMap((p) => p.serverId ?? []))];
  }

  /** The server that has this address on this network. */
  async serverAt(rows: RowReader, networkId: string, address: string): Promise<string | null> {
    const wanted = canonicalAddress(address);
    const found = wanted === null ? undefined : await rows.get(addressTable, addressKey(networkId, wanted));
    return found ? ((await rows.get(portTable, found.portId))?.serverId ?? null) : null;
  }

  /** Hosts that have ports of those of these networks that cannot span machines. */
  async hostsOf(rows: RowReader, networkIds: readonly string[]): Promise<HostId[]> {
    const networks = await rows.getMany(networkTable, [...new Set(networkIds)]);
    const local = [...networks.values()].filter(({ attributes }) => !attributes.provider);
    return (await hostsOf(
      rows,
      local.map(({ id }) => id),
    )) as HostId[];
  }

  /** What a server's ports, or those that will be made for it, ask of its host. */
  needs(
    rows: RowReader,
    {
      projectId,
      securityGroups,
      ports,
    }: Pick<PlugRequest, 'projectId' | 'securityGroups'> & {
      readonly ports: readonly (Pick<RequestedNetwork, 'networkId' | 'portSecurity'> & {
        readonly portId: string | null;
      })[];
    },
  ): Promise<NetworkNeed[]> {
    const groups = securityGroups.length > 0 ? securityGroups : [defaultGroupId(projectId)];
    return needsOf(
      rows,
      ports.map(({ portId, networkId, portSecurity }) =>
        portId === null
          ? { portId, networkId: networkId ?? '', securityGroups: groups, isOpen: portSecurity === false }
          : { portId },
      ),
    );
  }

  /** True when all of these networks are somebody else's, so that no address tells guests of themselves. */
  async haveNoMetadata(rows: RowReader, requested: readonly RequestedNetwork[]): Promise<boolean> {
    const networks = await rows.getMany(networkTable, [...new Set(requested.flatMap((n) => n.networkId ?? []))]);
    return networks.size > 0 && [...networks.values()].every(({ attributes }) => attributes.provider !== undefined);
  }

  /** Hosts that have to look again because of an event of the network; a hint for wake-ups. */
  hostsTouchedBy(event: RecordedEvent, rows: RowReader): Promise<string[]> {
    return hostsTouchedBy(event, rows);
  }

  regroupedBy(event: RecordedEvent): string[] {
    return regroupedBy(event);
  }

  hostsThatTrust(rows: RowReader, groups: readonly string[]): Promise<string[]> {
    return hostsThatTrust(rows, groups);
  }

  private async usableNetworks(rows: RowReader, projectId: string): Promise<NetworkRow[]> {
    const [own, shared] = await settled([
      rows.find(networkTable, { where: { projectId, external: false } }),
      rows.find(networkTable, { where: { shared: true, external: false } }),
    ]);
    const all = new Map([...own, ...shared].map((n) => [n.id, n]));
    // Nova passes over networks without a subnet only once it has chosen; a network that is all there is must have one.
    return [...all.values()];
  }

  private async check(
    rows: RowReader,
    projectId: string,
    isAdmin: boolean,
    wanted: RequestedNetwork,
  ): Promise<RequestedNetwork> {
    if (wanted.portId !== null) {
      const row = await rows.get(portTable, wanted.portId);
      if (!row || (row.projectId !== projectId && !isAdmin))
        throw bad('PortNotFound', `Port id ${wanted.portId} could not be found.`);
      if (row.serverId !== null || row.deviceId !== '')
        throw new DomainError('conflict', `Port ${wanted.portId} is still in use.`, { name: 'PortInUse' });
      if (row.addresses.length === 0)
        throw bad('PortRequiresFixedIP', `Port ${wanted.portId} requires a FixedIP in order to be used.`);
      return { ...wanted, networkId: row.networkId };
    }
    const id = wanted.networkId ?? '';
    const network = await rows.get(networkTable, id);
    if (!network || (network.projectId !== projectId && !network.shared && !network.external && !isAdmin))
      throw bad('NetworkNotFound', `Network ${id} could not be found.`);
    if (network.external && !network.shared && !isAdmin)
      throw new DomainError('forbidden', `It is not allowed to create an interface on external network ${id}`, {
        name: 'ExternalNetworkAttachForbidden',
      });
    if ((await rows.count(subnetTable, { networkId: id })) === 0)
      throw bad('NetworkRequiresSubnet', `Network ${id} requires a subnet in order to boot instances on.`);
    if (wanted.fixedIp !== null) {
      const address = canonicalAddress(wanted.fixedIp) ?? '';
      if (await rows.get(addressTable, addressKey(id, address)))
        throw bad('FixedIpAlreadyInUse', `Fixed IP address ${wanted.fixedIp} is already in use.`);
    }
    return wanted;
  }

  private async networkOf(rows: RowReader, id: string): Promise<NetworkRow> {
    const network = (await rows.get(networkTable, id)) ?? (await (await this.core.fresh()).get(networkTable, id));
    if (!network) throw conflict(`Network ${id} could not be found.`);
    return network;
  }

  private async make(
    network: NetworkRow,
    request: AttachRequest,
    name: string,
    wanted: RequestedNetwork,
    context: CommandContext,
  ): Promise<Port> {
    const portSecurity = wanted.portSecurity ?? network.attributes.portSecurity;
    const groups = !portSecurity
      ? []
      : request.securityGroups.length > 0
        ? [...request.securityGroups]
        : [await ensureDefaultGroup(this.core, request.projectId, context)];
    return this.ports.create(
      {
        portId: uuidV5(request.serverId, name) as PortId,
        networkId: network.id as NetworkId,
        projectId: request.projectId as ProjectId,
        mac: wanted.mac ?? null,
        fixedIps: wanted.fixedIp === null ? 'any' : [{ address: wanted.fixedIp }],
        madeFor: request.serverId as ServerId,
        hostname: request.hostname,
        host: request.host,
        attributes: {
          name: '',
          description: '',
          adminUp: true,
          deviceId: request.serverId,
          deviceOwner: 'compute:nova',
          securityGroups: groups as SecurityGroupId[],
          portSecurity,
          allowedAddressPairs: [],
          extraDhcpOptions: [],
          dnsName: request.hostname,
          vnicType: 'normal',
          bindingProfile: {},
          bindingHost: '',
        },
      },
      context,
    );
  }

  private async take(request: AttachRequest, portId: PortId, context: CommandContext): Promise<Port> {
    const { state } = await this.core.commands.execute(
      port,
      portId,
      {
        type: 'attach',
        portId,
        serverId: request.serverId as ServerId,
        deviceOwner: 'compute:nova',
        hostname: request.hostname,
      },
      step(context, `${portId} attach`),
    );
    return state;
  }

  private async bind(
    { id, host: now }: Port,
    { serverId, host }: Pick<PlugRequest, 'serverId' | 'host'>,
    context: CommandContext,
  ): Promise<void> {
    if (id === null || now?.id === host.id) return;
    await this.core.commands.execute(
      port,
      id,
      { type: 'bind', portId: id, serverId: serverId as ServerId, hostId: host.id, hostName: host.name },
      step(context, `${id} bind ${host.id}`),
    );
  }
}
