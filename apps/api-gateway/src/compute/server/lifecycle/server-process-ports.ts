import {
  type Bytes,
  type CommandContext,
  DomainError,
  type HostFacts,
  type HostId,
  type ImageFormat,
  type ImageId,
  type ImageReadiness,
  type PortId,
  type ReserveReply,
  type ReserveRequest,
  type ServerId,
  type ServerPort,
} from '@omnivisor/contracts';
import type { Server } from '../state/server.js';
import type { Pending, ServerRow } from '../view/server.projection.js';

/** A server as a step takes it up: from the read model, or as this replica has just appended it. */
export type BuildServer = Server &
  Pick<ServerRow, 'updatedAt' | 'changedAt' | 'taskSince'> & { readonly id: ServerId; readonly pending: Pending };

/** Traits by Placement's names. */
export interface SendingHost extends Pick<HostFacts, 'backend' | 'traits' | 'migration'> {
  /** Form in which it sends disks; undefined when it sends none. */
  readonly format: ImageFormat | undefined;
}

/** What the process needs of other parts of the cloud. Each call may be repeated. */
export interface ServerProcessPorts {
  /** Where the networks that a server asks for are, and what they ask of its host. */
  network(server: BuildServer): Promise<Pick<ReserveRequest, 'networkHosts' | 'networkNeeds'>>;
  /** Where the guest in an image starts that was not looked at when its server was asked for; waits for that for a while. */
  readiness(imageId: ImageId): Promise<ImageReadiness | undefined>;
  reserve(request: ReserveRequest): Promise<ReserveReply>;
  /** Makes or takes over the ports of the server on this host. @throws DomainError when that cannot be */
  plug(
    server: BuildServer,
    host: { readonly id: HostId; readonly name: string },
    context: CommandContext,
  ): Promise<readonly ServerPort[]>;
  /** Removes an image that waits for bytes which will not come; one that has them after all stays. */
  dropImage(imageId: ImageId, context: CommandContext): Promise<void>;
  /** Removes a copy of a disk. */
  dropTransfer(transferId: ImageId, context: CommandContext): Promise<void>;
  /** How the host sends disks; undefined when it cannot. */
  sends(host: HostId): Promise<SendingHost | undefined>;
  /** Hosts that have a guest of the server which the log does not know, until an operator has settled it. */
  strays(serverId: ServerId): Promise<readonly HostId[]>;
  /** What a disk has become that was sent. @throws DomainError `conflict` while not all of it is there, `notFound` */
  sent(transferId: ImageId): Promise<{ readonly size: Bytes; readonly sha512: string }>;
  /** Has the quota hold the larger of both flavors of a resize. @throws DomainError `overQuota` */
  takeQuota(server: BuildServer, context: CommandContext): Promise<void>;
  /** Has the quota hold what the server takes now. */
  settleQuota(server: BuildServer, context: CommandContext): Promise<void>;
  /** Deletes the port of an interface that the server gave up, or gives it back to its owner. */
  releasePort(server: BuildServer, portId: PortId, context: CommandContext): Promise<void>;
  /** Gives back ports, quota and secrets of a deleted server. */
  release(server: BuildServer, context: CommandContext): Promise<void>;
}

/** Kinds of errors that another try will not mend. */
export const isFinal = (error: unknown): error is DomainError =>
  error instanceof DomainError && error.kind !== 'unavailable' && error.kind !== 'rateLimited';
