import type {
  CommandContext,
  HostId,
  PortId,
  RequestedNetwork,
  SecurityGroupId,
  ServerPort,
  VaultRef,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';

/** A security group of a server as Nova shows it. */
export interface GroupName {
  readonly id: SecurityGroupId;
  readonly name: string;
}

export interface PluggedServer {
  readonly id: string;
  readonly ports: readonly ServerPort[] | null;
}

/** What is asked for as another interface of a server. */
export interface AttachRequest {
  readonly serverId: string;
  readonly projectId: string;
  readonly hostname: string;
  readonly requested: RequestedNetwork;
  readonly host: { readonly id: HostId; readonly name: string };
}

/** What the Compute API needs of the network side. */
export abstract class ComputeNetwork {
  /**
   * The project's security groups by name or id, `default` included; the project's default group is made when it is
   * asked for and missing.
   * @throws DomainError `notFound` for one that the project does not have; `conflict` for a name several have
   */
  abstract securityGroups(
    rows: RowReader,
    projectId: string,
    refs: readonly string[],
    context: CommandContext,
  ): Promise<SecurityGroupId[]>;
  /** Names of groups by id; unknown ids are missing. */
  abstract groupNames(rows: RowReader, ids: readonly string[]): Promise<Map<string, string>>;
  /** Groups in the form of `os-security-groups`, rules included; unknown ids are missing. */
  abstract groupDetails(rows: RowReader, ids: readonly string[]): Promise<Record<string, unknown>[]>;
  /**
   * Checks what a server asks to be plugged into, and says what that is: networks and ports exist for the project, ports
   * are free, addresses fit. Without a list: at most one network can be meant.
   * @throws DomainError `invalid` or `conflict` in Nova's words
   */
  abstract resolve(
    rows: RowReader,
    projectId: string,
    isAdmin: boolean,
    requested: 'auto' | readonly RequestedNetwork[],
  ): Promise<RequestedNetwork[]>;
  /** True when none of the networks has an address at which a guest is told of itself. */
  abstract haveNoMetadata(rows: RowReader, requested: readonly RequestedNetwork[]): Promise<boolean>;
  /**
   * Makes or takes over the port of another interface of a server, on the server's host. Doing it twice gives the same.
   * @throws DomainError as `resolve`, and when port or address are not to be had
   */
  abstract attach(rows: RowReader, server: AttachRequest, context: CommandContext): Promise<ServerPort>;
  /** Deletes a port that was made for the server, gives another back to its owner. Idempotent. */
  abstract release(serverId: string, portId: PortId, context: CommandContext): Promise<void>;
  /** The security groups that the ports of servers have, each once, by server. */
  abstract groupsOf(rows: RowReader, servers: readonly PluggedServer[]): Promise<Map<string, SecurityGroupId[]>>;
  /**
   * Gives a security group to every port of a server beside its own ones, or takes it from those that have it. What is
   * refused changes no port. Doing it twice gives the same, but for what is no longer there to be taken.
   * @param name or id of the group
   * @throws DomainError in Nova's words; `conflict` when the host cannot do what a port would ask of it
   */
  abstract regroup(
    rows: RowReader,
    server: { readonly id: string; readonly projectId: string },
    change: 'add' | 'remove',
    name: string,
    context: CommandContext,
  ): Promise<void>;
  /** Neutron's status of ports by id. */
  abstract portStates(rows: RowReader, ports: readonly ServerPort[]): Promise<Map<string, string>>;
}

/** The Image API, as the caller of a request may use it. */
export abstract class ComputeImages {
  /**
   * @param path below the service's root, with its query
   * @param patch JSON patch, for PATCH
   * @throws DomainError `unavailable`
   */
  abstract ask(
    call: Call,
    method: 'GET' | 'PATCH' | 'DELETE',
    path: string,
    patch?: readonly object[],
  ): Promise<{ readonly status: number; readonly body: unknown }>;
}

/** The Network API, as the caller of a request may use it. */
export abstract class ComputeNetworkApi {
  /** @param path below `/v2.0`, with its query */
  abstract ask(
    call: Call,
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
  ): Promise<{ readonly status: number; readonly body: unknown }>;
}

/** What must not stand in the log, e.g. user data. */
export abstract class ComputeSecrets {
  abstract seal(secret: Uint8Array): Promise<VaultRef>;
  /** @throws DomainError `notFound` when it was erased */
  abstract open(secret: VaultRef): Promise<Buffer>;
}

/** What of the Compute API an operator sets. */
export abstract class ComputeSettings {
  /** Limits of a project that has none of its own, over the built-in ones. */
  abstract readonly quota: Readonly<Record<string, number>>;
}
