import { Controller } from '@nestjs/common';
import {
  DomainError,
  invalid,
  ms,
  type PortId,
  type RequestedNetwork,
  type ServerId,
  type ServerPort,
  seconds,
  unavailable,
} from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import { serverOf } from '../../common/access.js';
import * as t from '../../common/parameters.js';
import { wrapped } from '../../common/versions.js';
import { ComputeNetwork } from '../../compute-ports.js';
import { requireFeature, requireHost } from '../../host/host-features.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import { serverTable } from '../view/server.projection.js';
import { guardAttach, pendingOf } from './server-interfaces.js';
import { interfaceView } from './server-network.controller.js';

const compute = 'compute' as const;
const attachment = wrapped('interfaceAttachment', {
  net_id: [['2.1', t.uuid.optional()]],
  port_id: [['2.1', t.uuid.optional()]],
  fixed_ips: [
    [
      '2.1',
      z
        .array(z.strictObject({ ip_address: t.ipAddress }))
        .length(1)
        .optional(),
    ],
  ],
  tag: [['2.49', t.tag.optional()]],
});
interface Wanted {
  readonly net_id?: string;
  readonly port_id?: string;
  readonly fixed_ips?: readonly [{ readonly ip_address: string }];
  readonly tag?: string;
}

/** How long a request waits for the host to plug an interface; Nova's RPC waits for a minute. */
const PATIENCE = seconds(30);
/** Between two looks: often as long as it may be quick. */
const [FIRST_LOOK, LONGEST_LOOK] = [ms(25), ms(1_000)];

/** Interfaces that come to a server and leave it while it is there. */
@Controller()
export class ServerInterfacesController {
  constructor(
    private readonly core: GatewayCore,
    private readonly network: ComputeNetwork,
  ) {}

  @Operation({
    service: compute,
    method: 'POST',
    path: '/v2.1/servers/:id/os-interface',
    policy: 'os_compute_api:os-attach-interfaces:create',
    body: attachment,
  })
  async attach(call: Call) {
    const { interfaceAttachment: wanted } = call.body as { interfaceAttachment: Wanted };
    const asked = requestedOf(wanted);
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, call.params.id!, 'os_compute_api:os-attach-interfaces:create');
    await requireHost(rows, row, true);
    await requireFeature(rows, row, 'nics');
    guardAttach(row, row.id, call.isAdmin);
    const { id: serverId, projectId, hostname } = row;
    const { host: hostId, hostName } = row.placement!;
    const port = await inNovasWords(async () => {
      const [requested] = await this.network.resolve(rows, projectId, call.isAdmin, asked);
      if (!requested)
        throw invalid(`No specific network was requested and none are available for project '${projectId}'.`);
      const host = { id: hostId, name: hostName };
      return this.network.attach(rows, { serverId, projectId, hostname, requested, host }, call.context('port'));
    });
    try {
      const now = this.core.clock.now();
      const command = { type: 'attachInterface', serverId, port, asAdmin: call.isAdmin, now } as const;
      await this.core.commands.execute(serverAggregate, serverId, command, call.context());
    } catch (error) {
      // The server went or changed meanwhile. What is cut off here goes with the server.
      if (error instanceof DomainError && error.kind !== 'unavailable')
        await this.network.release(serverId, port.portId, call.context('release'));
      throw error;
    }
    return { interfaceAttachment: interfaceView(call, port, await this.plugged(serverId, port)) };
  }

  /**
   * Nova answers when the guest has the interface, so that it can be used, or detached, at once.
   * @returns the state of its port; nothing when the host takes longer, and goes on
   * @throws DomainError when the host could not do it, or the server went meanwhile
   */
  private async plugged(serverId: ServerId, port: ServerPort): Promise<string | undefined> {
    const { portId } = port;
    let isLate = false;
    const cancel = this.core.clock.after(PATIENCE, () => {
      isLate = true;
    });
    try {
      for (let look = FIRST_LOOK; !isLate; look = ms(Math.min(LONGEST_LOOK, look * 1.5))) {
        const rows = await this.core.fresh();
        const row = await rows.get(serverTable, serverId);
        const change = row && !row.deleted && pendingOf(row, portId)?.change;
        if (change === undefined && row?.ports?.some((one) => one.portId === portId))
          return (await this.network.portStates(rows, [port])).get(portId);
        if (change !== 'attach') throw unavailable(`Failed to attach network adapter device to ${serverId}`);
        await this.core.clock.sleep(look);
      }
      return undefined;
    } finally {
      cancel();
    }
  }

  @Operation({
    service: compute,
    method: 'DELETE',
    path: '/v2.1/servers/:id/os-interface/:port',
    policy: 'os_compute_api:os-attach-interfaces:delete',
    status: 202,
  })
  async detach(call: Call) {
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, call.params.id!, 'os_compute_api:os-attach-interfaces:delete');
    await requireHost(rows, row, true);
    await requireFeature(rows, row, 'nics');
    await this.core.commands.execute(
      serverAggregate,
      row.id,
      {
        type: 'detachInterface',
        serverId: row.id,
        portId: call.params.port!.slice(0, 255) as PortId,
        asAdmin: call.isAdmin,
        now: this.core.clock.now(),
      },
      call.context(),
    );
  }
}

const requestedOf = ({ net_id, port_id, fixed_ips, tag }: Wanted): 'auto' | RequestedNetwork[] => {
  if (net_id && port_id) throw invalid('Must not input both network_id and port_id');
  if (fixed_ips && !net_id) throw invalid('Must input network_id when request IP address');
  if (!net_id && !port_id) return 'auto';
  const [networkId, portId] = [net_id ?? null, port_id ?? null] as [RequestedNetwork['networkId'], PortId | null];
  return [{ networkId, portId, fixedIp: fixed_ips?.[0].ip_address ?? null, tag: tag ?? null }];
};

/** What another interface is refused with, by the name of the refusal; a new server is told 400 of all of it. */
const kinds: Readonly<Record<string, DomainError['kind']>> = {
  PortNotFound: 'notFound',
  NetworkNotFound: 'notFound',
  PortInUse: 'conflict',
  FixedIpAlreadyInUse: 'conflict',
  NetworkAmbiguous: 'invalid',
};

const inNovasWords = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    const kind = error instanceof DomainError ? kinds[error.name] : undefined;
    if (!kind) throw error;
    throw new DomainError(kind, (error as DomainError).message, { cause: error });
  }
};
