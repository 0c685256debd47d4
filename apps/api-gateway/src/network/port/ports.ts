import {
  type CommandContext,
  DomainError,
  type NetworkId,
  type PortAttributes,
  type PortId,
  type ProjectId,
  type ServerId,
} from '@omnivisor/contracts';
import type { GatewayCore } from '../../core/gateway-core.js';
import { settled } from '../../core/settled.js';
import { addressPool, type WantedIp } from '../address-pool/address-pool.js';
import { step } from '../common/context.js';
import { networkQuota } from '../quota/network-quota.js';
import { macCandidates } from './mac.js';
import { type Port, port } from './port.js';

export interface NewPort {
  readonly portId: PortId;
  readonly networkId: NetworkId;
  readonly projectId: ProjectId;
  readonly mac: string | null;
  readonly fixedIps: 'any' | readonly WantedIp[];
  readonly attributes: Omit<PortAttributes, 'mac' | 'fixedIps'>;
  readonly madeFor: ServerId | null;
  readonly hostname: string;
  readonly host?: Port['host'];
}

/** Making and removing ports, in the order that lets `ReservationProcess` clean up after a crash at any point. */
export class Ports {
  constructor(private readonly core: GatewayCore) {}

  /** Doing it twice gives the same port. @throws DomainError */
  async create(wanted: NewPort, context: CommandContext): Promise<Port> {
    const { portId, networkId, projectId, attributes, madeFor, hostname, host } = wanted;
    const { commands } = this.core;
    const [pool, quota] = await Promise.allSettled([
      commands.execute(
        addressPool,
        networkId,
        {
          type: 'allocate',
          networkId,
          portId,
          projectId,
          mac: wanted.mac ?? macCandidates(portId),
          fixedIps: wanted.fixedIps,
        },
        step(context, `${portId} addresses`),
      ),
      commands.execute(
        networkQuota,
        projectId,
        { type: 'take', projectId, resource: 'port', ids: [portId] },
        step(context, `${portId} quota`),
      ),
    ]);
    try {
      if (pool.status === 'rejected') throw pool.reason;
      if (quota.status === 'rejected') throw quota.reason;
      const { mac, fixedIps } = pool.value.state.holdings.get(portId)!;
      const { state } = await commands.execute(
        port,
        portId,
        {
          type: 'create',
          portId,
          networkId,
          projectId,
          madeFor,
          hostname,
          attributes: { ...attributes, mac, fixedIps: [...fixedIps] },
          ...(host ? { host } : {}),
        },
        step(context, `${portId} create`),
      );
      return state;
    } catch (error) {
      // What the log does not tell now is left to `ReservationProcess`.
      const isFinal = error instanceof DomainError && error.kind !== 'unavailable';
      if (isFinal && [pool, quota].some((taken) => taken.status === 'fulfilled'))
        await this.abandon(portId, networkId, projectId, step(context, 'undo'));
      throw error;
    }
  }

  /** Gives back what a port took that was not made, and cannot be made any more then. */
  private async abandon(
    portId: PortId,
    networkId: NetworkId,
    projectId: ProjectId,
    context: CommandContext,
  ): Promise<void> {
    const { state } = await this.core.commands.execute(
      port,
      portId,
      { type: 'abandon', portId },
      step(context, `${portId} abandon`),
    );
    if (state.id === null) await this.giveBack(portId, networkId, projectId, context);
  }

  /** Removes the port and gives back what it held; what is cut off here is done by `ReservationProcess`. */
  async delete(portId: PortId, context: CommandContext, ifRevision?: number): Promise<void> {
    const { state } = await this.core.commands.execute(
      port,
      portId,
      { type: 'delete', portId, ifRevision },
      step(context, `${portId} delete`),
    );
    await this.giveBack(portId, state.networkId, state.projectId, context);
  }

  private async giveBack(
    portId: PortId,
    networkId: NetworkId,
    projectId: ProjectId,
    context: CommandContext,
  ): Promise<void> {
    const { commands } = this.core;
    await settled([
      commands.execute(
        networkQuota,
        projectId,
        { type: 'giveBack', projectId, resource: 'port', ids: [portId] },
        step(context, `${portId} quota back`),
      ),
      commands.execute(
        addressPool,
        networkId,
        { type: 'release', networkId, portId },
        step(context, `${portId} addresses back`),
      ),
    ]);
  }
}
