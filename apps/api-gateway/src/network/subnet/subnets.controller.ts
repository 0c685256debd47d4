import { Controller } from '@nestjs/common';
import type { NetworkId, ProjectId } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import {
  type Attributes,
  bool,
  both,
  integer,
  ip,
  listOf,
  oneOf,
  only,
  orNull,
  parseCreate,
  parseUpdate,
  postOnly,
  prefix,
  readOnly,
  record,
  subnetCidr,
  text,
  textOrNone,
  uuid,
} from '../common/attributes.js';
import { ifRevision, list, owned, permitted, present, show, type View, visible } from '../common/collection.js';
import { step } from '../common/context.js';
import { checkRevision } from '../common/revision.js';
import { networkKind } from '../network/network.kind.js';
import { subnetKind } from './subnet.kind.js';
import { subnetTable } from './subnet.projection.js';
import { Subnets } from './subnets.js';

const mode = postOnly(orNull(oneOf('dhcpv6-stateful', 'dhcpv6-stateless', 'slaac')));
const attributes: Attributes = {
  id: readOnly,
  created_at: readOnly,
  updated_at: readOnly,
  revision_number: readOnly,
  tags: readOnly,
  'router:external': readOnly,
  network_id: { post: uuid, required: true },
  name: both(text()),
  description: both(textOrNone()),
  ip_version: postOnly(oneOf(4, 6)),
  cidr: postOnly(orNull(subnetCidr)),
  gateway_ip: both(orNull(ip)),
  allocation_pools: both(listOf(record({ start: ip, end: ip }))),
  dns_nameservers: both(listOf(ip, 5)),
  host_routes: both(listOf(record({ destination: prefix, nexthop: ip }), 20)),
  enable_dhcp: both(bool),
  ipv6_ra_mode: mode,
  ipv6_address_mode: mode,
  service_types: both(listOf(text())),
  subnetpool_id: postOnly(only(null)),
  use_default_subnetpool: postOnly(only(false)),
  prefixlen: postOnly(orNull(integer(0, 128))),
  segment_id: postOnly(only(null)),
  tenant_id: postOnly(text()),
  project_id: postOnly(text()),
};

@Controller()
export class SubnetsController {
  private readonly subnets: Subnets;

  constructor(private readonly core: GatewayCore) {
    this.subnets = new Subnets(core);
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/subnets', policy: 'authenticated' })
  async list(call: Call) {
    return list(subnetKind, await this.core.fresh(), call);
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/subnets/:id', policy: 'authenticated' })
  async show(call: Call) {
    return show(subnetKind, await this.core.fresh(), call, call.params.id ?? '');
  }

  @Operation({
    service: 'network',
    method: 'POST',
    path: '/v2.0/subnets',
    policy: 'authenticated',
    status: 201,
    body: z.unknown(),
  })
  async create(call: Call) {
    const { bulk, items } = parseCreate(call.body, 'subnet', 'subnets', attributes);
    const rows = await this.core.fresh();
    const projects: ProjectId[] = [];
    for (const given of items) {
      const network = await visible(networkKind, rows, call, `${given.network_id}`);
      const projectId = `${given.project_id ?? call.token.projectId ?? ''}` as ProjectId;
      const target = { ...owned(projectId), 'network:project_id': network.projectId };
      call.enforce('create_subnet', target);
      if (projectId !== call.token.projectId && !call.isAdmin) throw call.refusal('create_subnet');
      if (given.service_types !== undefined) call.enforce('create_subnet:service_types', target);
      projects.push(projectId);
    }
    const views: View[] = [];
    for (const [i, given] of items.entries()) {
      const networkId = `${given.network_id}` as NetworkId;
      const id = await this.subnets.create(given, networkId, projects[i]!, call.context(`subnet ${i}`));
      const after = await this.core.fresh();
      views.push(await present(subnetKind, after, call, (await after.get(subnetTable, id))!, []));
    }
    return bulk ? { subnets: views } : { subnet: views[0] };
  }

  @Operation({
    service: 'network',
    method: 'PUT',
    path: '/v2.0/subnets/:id',
    policy: 'authenticated',
    body: z.unknown(),
  })
  async update(call: Call) {
    const rows = await this.core.fresh();
    const row = await permitted(subnetKind, rows, call, call.params.id ?? '', 'update');
    const given = parseUpdate(call.body, 'subnet', attributes);
    const expected = ifRevision(call);
    checkRevision(row.revision, expected);
    await this.subnets.change(row, given, expected, call.context());
    const after = await this.core.fresh();
    return { subnet: await present(subnetKind, after, call, (await after.get(subnetTable, row.id))!, []) };
  }

  @Operation({ service: 'network', method: 'DELETE', path: '/v2.0/subnets/:id', policy: 'authenticated', status: 204 })
  async remove(call: Call) {
    const row = await permitted(subnetKind, await this.core.fresh(), call, call.params.id ?? '', 'delete');
    checkRevision(row.revision, ifRevision(call));
    await this.subnets.delete(row, step(call.context(), 'subnet'));
    return new Reply(undefined);
  }
}
