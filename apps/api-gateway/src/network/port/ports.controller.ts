import { Controller } from '@nestjs/common';
import type {
  AllowedAddressPair,
  NetworkId,
  PortAttributes,
  PortId,
  ProjectId,
  SecurityGroupId,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { addressPool, type WantedIp } from '../address-pool/address-pool.js';
import {
  type Attributes,
  anyRecord,
  bool,
  both,
  ip,
  line,
  listOf,
  macAddress,
  oneOf,
  orNull,
  parseCreate,
  parseUpdate,
  postOnly,
  prefix,
  readOnly,
  record,
  text,
  textOrNone,
  uuid,
} from '../common/attributes.js';
import { ifRevision, list, owned, permitted, present, show, type View, visible } from '../common/collection.js';
import { step } from '../common/context.js';
import { portInUse, securityGroupNotFound, statelessGroup } from '../common/errors.js';
import { checkRevision } from '../common/revision.js';
import { networkKind } from '../network/network.kind.js';
import { ensureDefaultGroup } from '../security-group/default-group.js';
import { securityGroupTable } from '../security-group/security-group.projection.js';
import { checkSecurity, port } from './port.js';
import { portKind, portTarget } from './port.kind.js';
import { type PortRow, portTable } from './port.projection.js';
import { Ports } from './ports.js';

const attributes: Attributes = {
  id: readOnly,
  status: readOnly,
  created_at: readOnly,
  updated_at: readOnly,
  revision_number: readOnly,
  tags: readOnly,
  'binding:vif_type': readOnly,
  'binding:vif_details': readOnly,
  network_id: { post: uuid, required: true },
  name: both(text()),
  description: both(textOrNone()),
  admin_state_up: both(bool),
  mac_address: both(macAddress),
  fixed_ips: both(listOf(record({ 'subnet_id?': uuid, 'ip_address?': ip }), 100)),
  device_id: both(textOrNone()),
  device_owner: both(textOrNone()),
  security_groups: both((v) => (v === null ? [] : listOf(uuid)(v))),
  port_security_enabled: both(bool),
  allowed_address_pairs: both((v) =>
    v === null ? [] : listOf(record({ ip_address: prefix, 'mac_address?': macAddress }), 10)(v),
  ),
  extra_dhcp_opts: both((v) =>
    v === null
      ? []
      : listOf(record({ opt_name: line(64), opt_value: orNull(line()), 'ip_version?': oneOf(4, 6) }), 64)(v),
  ),
  'binding:host_id': both(textOrNone()),
  'binding:profile': both((v) => (v === null ? {} : anyRecord(v))),
  'binding:vnic_type': both(oneOf('normal')),
  tenant_id: postOnly(text()),
  project_id: postOnly(text()),
};

const RULED = [
  'device_id',
  'device_owner',
  'mac_address',
  'fixed_ips',
  'port_security_enabled',
  'binding:host_id',
  'binding:profile',
  'binding:vnic_type',
  'allowed_address_pairs',
];

type Wire = {
  fixed_ips?: { subnet_id?: string; ip_address?: string }[];
  allowed_address_pairs?: { ip_address: string; mac_address?: string }[];
  extra_dhcp_opts?: { opt_name: string; opt_value: string | null; ip_version?: 4 | 6 }[];
};

const wantedIps = (given: View): WantedIp[] | undefined =>
  (given as Wire).fixed_ips?.map((f) => ({ subnetId: f.subnet_id as never, address: f.ip_address }));

/** One address is kept without its prefix length, as it was written. */
const pairOf = (p: { ip_address: string; mac_address?: string }): AllowedAddressPair => ({
  mac: p.mac_address ?? null,
  address: p.ip_address.replace(p.ip_address.includes(':') ? /\/128$/ : /\/32$/, ''),
});

const changesIn = (given: View): Partial<PortAttributes> => {
  const wire = given as Wire;
  const plain = {
    name: 'name',
    description: 'description',
    admin_state_up: 'adminUp',
    device_id: 'deviceId',
    device_owner: 'deviceOwner',
    port_security_enabled: 'portSecurity',
    security_groups: 'securityGroups',
    'binding:host_id': 'bindingHost',
    'binding:profile': 'bindingProfile',
    'binding:vnic_type': 'vnicType',
  } as const;
  const changes: Record<string, unknown> = {};
  for (const [from, to] of Object.entries(plain)) if (given[from] !== undefined) changes[to] = given[from];
  if (wire.allowed_address_pairs) changes.allowedAddressPairs = wire.allowed_address_pairs.map(pairOf);
  if (wire.extra_dhcp_opts)
    changes.extraDhcpOptions = wire.extra_dhcp_opts.flatMap((o) =>
      o.opt_value === null ? [] : [{ name: o.opt_name, value: o.opt_value, version: o.ip_version ?? 4 }],
    );
  return changes as Partial<PortAttributes>;
};

@Controller()
export class PortsController {
  private readonly ports: Ports;

  constructor(private readonly core: GatewayCore) {
    this.ports = new Ports(core);
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/ports', policy: 'authenticated' })
  async list(call: Call) {
    return list(portKind, await this.core.fresh(), call);
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/ports/:id', policy: 'authenticated' })
  async show(call: Call) {
    return show(portKind, await this.core.fresh(), call, call.params.id ?? '');
  }

  @Operation({
    service: 'network',
    method: 'POST',
    path: '/v2.0/ports',
    policy: 'authenticated',
    status: 201,
    body: z.unknown(),
  })
  async create(call: Call) {
    const { bulk, items } = parseCreate(call.body, 'port', 'ports', attributes);
    const rows = await this.core.fresh();
    const made: PortId[] = [];
    for (const given of items) await this.allowed(call, rows, given);
    for (const [i, given] of items.entries()) made.push(await this.make(call, rows, given, `port ${i}`));
    const after = await this.core.fresh();
    const views: View[] = [];
    for (const id of made) views.push(await present(portKind, after, call, (await after.get(portTable, id))!, []));
    return bulk ? { ports: views } : { port: views[0] };
  }

  @Operation({ service: 'network', method: 'PUT', path: '/v2.0/ports/:id', policy: 'authenticated', body: z.unknown() })
  async update(call: Call) {
    const rows = await this.core.fresh();
    const row = await permitted(portKind, rows, call, call.params.id ?? '', 'update');
    const given = parseUpdate(call.body, 'port', attributes);
    const expected = ifRevision(call);
    checkRevision(row.revision, expected);
    const target = { ...(await portTarget(rows, row)), ...given };
    for (const name of RULED) if (given[name] !== undefined) call.enforce(`update_port:${name}`, target);
    await this.checkGroups(call, rows, given);
    checkSecurity({ ...row.attributes, ...changesIn(given) });
    const context = call.context();
    const addresses = await this.readdress(row, given, context);
    await this.core.commands.execute(
      port,
      row.id,
      { type: 'change', portId: row.id, changes: { ...changesIn(given), ...addresses }, ifRevision: expected },
      context,
    );
    const after = await this.core.fresh();
    return { port: await present(portKind, after, call, (await after.get(portTable, row.id))!, []) };
  }

  @Operation({ service: 'network', method: 'DELETE', path: '/v2.0/ports/:id', policy: 'authenticated', status: 204 })
  async remove(call: Call) {
    const row = await permitted(portKind, await this.core.fresh(), call, call.params.id ?? '', 'delete');
    if (row.serverId !== null) throw portInUse(row.id, row.networkId, row.serverId);
    await this.ports.delete(row.id, call.context(), ifRevision(call));
    return new Reply(undefined);
  }

  private async allowed(call: Call, rows: RowReader, given: View): Promise<void> {
    const network = await visible(networkKind, rows, call, `${given.network_id}`);
    const projectId = `${given.project_id ?? call.token.projectId ?? ''}`;
    const target = {
      ...owned(projectId),
      'network:project_id': network.projectId,
      shared: network.shared,
      ...given,
    };
    call.enforce('create_port', target);
    if (projectId !== call.token.projectId && !call.isAdmin) throw call.refusal('create_port');
    for (const name of RULED) if (given[name] !== undefined) call.enforce(`create_port:${name}`, target);
    if (wantedIps(given)?.some((w) => w.address !== undefined))
      call.enforce('create_port:fixed_ips:ip_address', target);
    await this.checkGroups(call, rows, given);
  }

  private async checkGroups(call: Call, rows: RowReader, given: View): Promise<void> {
    for (const id of (given.security_groups as string[] | undefined) ?? []) {
      const group = await rows.get(securityGroupTable, id);
      if (!group || !call.can('get_security_group', owned(group.projectId))) throw securityGroupNotFound(id);
      if (!group.stateful) throw statelessGroup(id);
    }
  }

  private async make(call: Call, rows: RowReader, given: View, name: string): Promise<PortId> {
    const context = call.context(name);
    const projectId = `${given.project_id ?? call.token.projectId ?? ''}` as ProjectId;
    const network = (await visible(networkKind, rows, call, `${given.network_id}`))!;
    const changes = changesIn(given);
    const portSecurity = changes.portSecurity ?? network.attributes.portSecurity;
    const securityGroups: SecurityGroupId[] = changes.securityGroups
      ? [...changes.securityGroups]
      : portSecurity
        ? [await ensureDefaultGroup(this.core, projectId, context)]
        : [];
    const all = {
      name: '',
      description: '',
      adminUp: true,
      deviceId: '',
      deviceOwner: '',
      allowedAddressPairs: [],
      extraDhcpOptions: [],
      dnsName: '',
      vnicType: 'normal',
      bindingProfile: {},
      bindingHost: '',
      ...changes,
      portSecurity,
      securityGroups,
    };
    checkSecurity(all);
    const portId = this.core.ids.uuid() as PortId;
    await this.ports.create(
      {
        portId,
        networkId: network.id as NetworkId,
        projectId,
        mac: (given.mac_address as string | undefined) ?? null,
        fixedIps: wantedIps(given) ?? 'any',
        attributes: all,
        madeFor: null,
        hostname: '',
      },
      context,
    );
    return portId;
  }

  /** Takes other addresses or another MAC out of the pool first. */
  private async readdress(
    row: PortRow,
    given: View,
    context: ReturnType<Call['context']>,
  ): Promise<Partial<PortAttributes>> {
    const wanted = wantedIps(given);
    const mac = given.mac_address as string | undefined;
    if (!wanted && (mac === undefined || mac === row.attributes.mac)) return {};
    const { networkId, projectId } = row;
    const { state } = await this.core.commands.execute(
      addressPool,
      networkId,
      {
        type: 'allocate',
        networkId,
        portId: row.id,
        projectId,
        mac: mac ?? row.attributes.mac,
        fixedIps: wanted ?? row.attributes.fixedIps,
      },
      step(context, 'addresses'),
    );
    const held = state.holdings.get(row.id)!;
    return { mac: held.mac, fixedIps: [...held.fixedIps] };
  }
}
