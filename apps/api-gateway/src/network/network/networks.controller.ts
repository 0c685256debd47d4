import { Controller } from '@nestjs/common';
import {
  type CommandContext,
  DomainError,
  type NetworkAttributes,
  type NetworkId,
  type ProjectId,
  type ProviderSegment,
} from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { addressPool } from '../address-pool/address-pool.js';
import {
  type Attributes,
  bool,
  both,
  integer,
  listOf,
  oneOf,
  orNull,
  parseCreate,
  parseUpdate,
  postOnly,
  readOnly,
  text,
  textOrNone,
} from '../common/attributes.js';
import { ifRevision, list, owned, permitted, present, show, type View } from '../common/collection.js';
import { step } from '../common/context.js';
import { checkRevision } from '../common/revision.js';
import { networkQuota } from '../quota/network-quota.js';
import { physicalNetworks } from '../segment/physical-networks.js';
import { requestedSegment } from '../segment/requested-segment.js';
import { type SegmentCommand, segments } from '../segment/segments.js';
import { subnetTable } from '../subnet/subnet.projection.js';
import { Subnets } from '../subnet/subnets.js';
import { network } from './network.js';
import { networkKind } from './network.kind.js';
import { networkTable } from './network.projection.js';

/** Of local networks, and of those on a physical network. */
const MTU = { local: 1450, provider: 1500 };
const attributes: Attributes = {
  id: readOnly,
  status: readOnly,
  subnets: readOnly,
  availability_zones: readOnly,
  ipv4_address_scope: readOnly,
  ipv6_address_scope: readOnly,
  created_at: readOnly,
  updated_at: readOnly,
  revision_number: readOnly,
  tags: readOnly,
  name: both(text()),
  description: both(textOrNone()),
  admin_state_up: both(bool),
  shared: both(bool),
  'router:external': both(bool),
  is_default: both(bool),
  port_security_enabled: both(bool),
  mtu: both(integer(68, 65535)),
  availability_zone_hints: postOnly(listOf(oneOf('nova'))),
  'provider:network_type': postOnly(orNull(text(32))),
  'provider:physical_network': postOnly(orNull(text(64))),
  'provider:segmentation_id': postOnly(orNull(integer(-(2 ** 31), 2 ** 31))),
  tenant_id: postOnly(text()),
  project_id: postOnly(text()),
};

/** Names of a request and of the events. */
const NAMES = {
  name: 'name',
  description: 'description',
  admin_state_up: 'adminUp',
  shared: 'shared',
  'router:external': 'external',
  is_default: 'isDefault',
  port_security_enabled: 'portSecurity',
  mtu: 'mtu',
  availability_zone_hints: 'availabilityZoneHints',
} as const;
/** Attributes with a policy rule of their own. */
const RULED = [
  'shared',
  'router:external',
  'is_default',
  'port_security_enabled',
  'provider:network_type',
  'provider:physical_network',
  'provider:segmentation_id',
];

const changesIn = (given: View): Partial<NetworkAttributes> =>
  Object.fromEntries(
    Object.entries(NAMES).flatMap(([from, to]) => (given[from] === undefined ? [] : [[to, given[from]]])),
  );

@Controller()
export class NetworksController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/networks', policy: 'authenticated' })
  async list(call: Call) {
    return list(networkKind, await this.core.fresh(), call);
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/networks/:id', policy: 'authenticated' })
  async show(call: Call) {
    return show(networkKind, await this.core.fresh(), call, call.params.id ?? '');
  }

  @Operation({
    service: 'network',
    method: 'POST',
    path: '/v2.0/networks',
    policy: 'authenticated',
    status: 201,
    body: z.unknown(),
  })
  async create(call: Call) {
    const { bulk, items } = parseCreate(call.body, 'network', 'networks', attributes);
    const projects = items.map((given) => `${given.project_id ?? call.token.projectId ?? ''}` as ProjectId);
    for (const [i, given] of items.entries()) {
      const target = { ...owned(projects[i]!), ...given };
      call.enforce('create_network', target);
      for (const name of RULED)
        if (given[name] !== undefined && given[name] !== false && given[name] !== null)
          call.enforce(`create_network:${name}`, target);
    }
    const known = await physicalNetworks(await this.core.freshFor(call));
    const wanted = items.map((given) => requestedSegment(given, known));
    const ids: NetworkId[] = [];
    for (const [i, given] of items.entries())
      ids.push(await this.make(given, wanted[i], projects[i]!, call.context(`network ${i}`)));
    const rows = await this.core.fresh();
    const views: View[] = [];
    for (const id of ids) views.push(await present(networkKind, rows, call, (await rows.get(networkTable, id))!, []));
    return bulk ? { networks: views } : { network: views[0] };
  }

  @Operation({
    service: 'network',
    method: 'PUT',
    path: '/v2.0/networks/:id',
    policy: 'authenticated',
    body: z.unknown(),
  })
  async update(call: Call) {
    const rows = await this.core.fresh();
    const row = await permitted(networkKind, rows, call, call.params.id ?? '', 'update');
    const given = parseUpdate(call.body, 'network', attributes);
    const target = await networkKind.target(rows, row);
    for (const name of RULED) if (given[name] !== undefined) call.enforce(`update_network:${name}`, target);
    await this.core.commands.execute(
      network,
      row.id,
      { type: 'change', networkId: row.id, changes: changesIn(given), ifRevision: ifRevision(call) },
      call.context(),
    );
    const after = await this.core.fresh();
    return { network: await present(networkKind, after, call, (await after.get(networkTable, row.id))!, []) };
  }

  @Operation({ service: 'network', method: 'DELETE', path: '/v2.0/networks/:id', policy: 'authenticated', status: 204 })
  async remove(call: Call) {
    const rows = await this.core.fresh();
    const row = await permitted(networkKind, rows, call, call.params.id ?? '', 'delete');
    checkRevision(row.revision, ifRevision(call));
    const context = call.context();
    const { commands } = this.core;
    await commands.execute(addressPool, row.id, { type: 'close', networkId: row.id }, step(context, 'close'));
    const subnets = new Subnets(this.core);
    for (const s of await rows.find(subnetTable, { where: { networkId: row.id } })) await subnets.delete(s, context);
    await commands.execute(network, row.id, { type: 'delete', networkId: row.id }, step(context, 'delete'));
    if (row.attributes.provider) {
      const { physicalNetwork } = row.attributes.provider;
      const back = { type: 'giveBack', networkId: row.id, physicalNetwork } as const;
      await commands.execute(segments, physicalNetwork, back, step(context, 'segment'));
    }
    await commands.execute(
      networkQuota,
      row.projectId,
      { type: 'giveBack', projectId: row.projectId, resource: 'network', ids: [row.id] },
      step(context, 'quota'),
    );
    return new Reply(undefined);
  }

  private async make(
    given: View,
    provider: ProviderSegment | undefined,
    projectId: ProjectId,
    context: CommandContext,
  ): Promise<NetworkId> {
    const networkId = this.core.ids.uuid() as NetworkId;
    const { commands } = this.core;
    await commands.execute(
      networkQuota,
      projectId,
      { type: 'take', projectId, resource: 'network', ids: [networkId] },
      step(context, 'quota'),
    );
    if (provider) await this.takeSegment({ type: 'take', networkId, segment: provider }, projectId, context);
    await commands.execute(
      network,
      networkId,
      {
        type: 'create',
        networkId,
        projectId,
        attributes: {
          name: '',
          description: '',
          adminUp: true,
          shared: false,
          external: false,
          isDefault: false,
          portSecurity: true,
          mtu: provider ? MTU.provider : MTU.local,
          dnsDomain: '',
          availabilityZoneHints: [],
          ...(provider ? { provider } : {}),
          ...changesIn(given),
        },
      },
      context,
    );
    return networkId;
  }

  private async takeSegment(
    take: Extract<SegmentCommand, { type: 'take' }>,
    projectId: ProjectId,
    context: CommandContext,
  ): Promise<void> {
    const { commands } = this.core;
    const { networkId, segment } = take;
    try {
      await commands.execute(segments, segment.physicalNetwork, take, step(context, 'segment'));
    } catch (error) {
      const back = { type: 'giveBack', projectId, resource: 'network', ids: [networkId] } as const;
      if (error instanceof DomainError && error.kind === 'conflict')
        await commands.execute(networkQuota, projectId, back, step(context, 'quota back'));
      throw error;
    }
  }
}
