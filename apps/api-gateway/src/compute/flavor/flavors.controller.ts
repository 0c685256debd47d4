import { Controller } from '@nestjs/common';
import { FLAVOR_CATALOG, type FlavorId, gib, invalid, mib, notFound, type ProjectId } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation } from '@omnivisor/openstack';
import type { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { first, last, nextLink, pageOf, type Query } from '../common/paging.js';
import { strictFrom } from '../common/versions.js';
import { checkExtraSpecs } from './extra-specs.js';
import { extraSpecNotFound, type FlavorCommand, flavorAggregate, flavorNotFound } from './flavor.js';
import { type FlavorRow, flavorTable } from './flavor.projection.js';
import {
  type CreateFlavorBody,
  createFlavor,
  extraSpecs,
  flavorAction,
  listFlavorsQuery,
  setExtraSpecs,
  updateFlavor,
} from './flavor.schema.js';
import { flavorBriefs, flavorDetails } from './flavor.view.js';

const compute = 'compute' as const;
const manage = (name: string) => `os_compute_api:os-flavor-manage:${name}`;
const specs = (name: string) => `os_compute_api:os-flavor-extra-specs:${name}`;
const access = 'os_compute_api:os-flavor-access';

@Controller()
export class FlavorsController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/flavors',
    policy: 'authenticated',
    query: listFlavorsQuery,
  })
  async list(call: Call) {
    const page = await this.page(call);
    return { flavors: flavorBriefs(call, page), ...nextLink(call, 'flavors', page, page.at(-1)?.id) };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/flavors/detail',
    policy: 'authenticated',
    query: listFlavorsQuery,
  })
  async detail(call: Call) {
    const page = await this.page(call);
    return { flavors: flavorDetails(call, page), ...nextLink(call, 'flavors', page, page.at(-1)?.id) };
  }

  @Operation({ service: compute, method: 'POST', path: '/v2.1/flavors', policy: manage('create'), body: createFlavor })
  async create(call: Call) {
    const { flavor } = call.body as CreateFlavorBody;
    const flavorId = (flavor.id ?? this.core.ids.uuid()) as FlavorId;
    await this.send(call, {
      type: 'create',
      flavor: {
        flavorId,
        name: flavor.name.trim(),
        vcpus: flavor.vcpus,
        memory: mib(flavor.ram),
        disk: gib(flavor.disk),
        ephemeral: gib(flavor['OS-FLV-EXT-DATA:ephemeral'] ?? 0),
        swap: mib(flavor.swap ?? 0),
        rxtxFactor: flavor.rxtx_factor ?? 1,
        isPublic: flavor['os-flavor-access:is_public'] ?? true,
        description: flavor.description ?? null,
      },
    });
    return this.shown(call, flavorId);
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/flavors/:id',
    policy: 'authenticated',
    query: strictFrom('2.102'),
  })
  async show(call: Call) {
    return this.shown(call, call.params.id!);
  }

  @Operation({
    service: compute,
    method: 'PUT',
    path: '/v2.1/flavors/:id',
    versions: ['2.55'],
    policy: manage('update'),
    body: updateFlavor,
  })
  async update(call: Call) {
    const { description } = (call.body as z.infer<typeof updateFlavor>).flavor;
    const { id } = await this.visible(call, call.params.id!);
    await this.send(call, { type: 'describe', flavorId: id as FlavorId, description });
    return this.shown(call, id);
  }

  @Operation({ service: compute, method: 'DELETE', path: '/v2.1/flavors/:id', policy: manage('delete'), status: 202 })
  async remove(call: Call) {
    await this.send(call, { type: 'delete', flavorId: call.params.id as FlavorId });
  }

  @Operation({ service: compute, method: 'GET', path: '/v2.1/flavors/:id/os-extra_specs', policy: specs('index') })
  async extraSpecs(call: Call) {
    return { extra_specs: (await this.visible(call, call.params.id!)).extraSpecs };
  }

  @Operation({
    service: compute,
    method: 'POST',
    path: '/v2.1/flavors/:id/os-extra_specs',
    policy: specs('create'),
    body: setExtraSpecs,
  })
  async setExtraSpecs(call: Call) {
    const wanted = (call.body as z.infer<typeof setExtraSpecs>).extra_specs;
    if (call.since('2.86')) checkExtraSpecs(wanted);
    await this.send(call, { type: 'setExtraSpecs', flavorId: call.params.id as FlavorId, extraSpecs: wanted });
    return { extra_specs: wanted };
  }

  @Operation({ service: compute, method: 'GET', path: '/v2.1/flavors/:id/os-extra_specs/:key', policy: specs('show') })
  async extraSpec(call: Call) {
    const flavor = await this.visible(call, call.params.id!);
    const key = call.params.key!;
    if (!Object.hasOwn(flavor.extraSpecs, key)) throw extraSpecNotFound(flavor.id, key);
    return { [key]: flavor.extraSpecs[key] };
  }

  @Operation({
    service: compute,
    method: 'PUT',
    path: '/v2.1/flavors/:id/os-extra_specs/:key',
    policy: specs('update'),
    body: extraSpecs,
  })
  async putExtraSpec(call: Call) {
    const wanted = call.body as z.infer<typeof extraSpecs>;
    const keys = Object.keys(wanted);
    if (keys.length !== 1 || keys[0] !== call.params.key) throw invalid('Request body and URI mismatch');
    if (call.since('2.86')) checkExtraSpecs(wanted);
    await this.send(call, { type: 'setExtraSpecs', flavorId: call.params.id as FlavorId, extraSpecs: wanted });
    return wanted;
  }

  @Operation({
    service: compute,
    method: 'DELETE',
    path: '/v2.1/flavors/:id/os-extra_specs/:key',
    policy: specs('delete'),
  })
  async removeExtraSpec(call: Call) {
    await this.send(call, {
      type: 'removeExtraSpec',
      flavorId: call.params.id as FlavorId,
      key: call.params.key!,
    });
  }

  @Operation({ service: compute, method: 'GET', path: '/v2.1/flavors/:id/os-flavor-access', policy: access })
  async access(call: Call) {
    const flavor = await this.visible(call, call.params.id!);
    if (flavor.isPublic) throw notFound('Access list not available for public flavors.');
    return accessView(flavor);
  }

  @Operation({
    service: compute,
    method: 'POST',
    path: '/v2.1/flavors/:id/action',
    policy: 'authenticated',
    body: flavorAction,
  })
  async act(call: Call) {
    const body = call.body as z.infer<typeof flavorAction>;
    const flavorId = call.params.id as FlavorId;
    if ('addTenantAccess' in body) {
      call.enforce(`${access}:add_tenant_access`);
      const projectId = body.addTenantAccess.tenant as ProjectId;
      await this.send(call, { type: 'grant', flavorId, projectId, refusePublic: call.since('2.7') });
    } else {
      call.enforce(`${access}:remove_tenant_access`);
      await this.send(call, { type: 'revoke', flavorId, projectId: body.removeTenantAccess.tenant as ProjectId });
    }
    return accessView(await this.visible(call, flavorId));
  }

  private async send(call: Call, command: FlavorCommand) {
    await this.core.commands.execute(flavorAggregate, FLAVOR_CATALOG, command, call.context());
  }

  private async visible(call: Call, id: string): Promise<FlavorRow> {
    const row = await (await this.core.fresh()).get(flavorTable, id);
    if (!row || !mayUse(call, row)) throw flavorNotFound(id.slice(0, 255));
    return row;
  }

  private async shown(call: Call, id: string) {
    return { flavor: flavorDetails(call, [await this.visible(call, id)])[0] };
  }

  private async page(call: Call): Promise<FlavorRow[]> {
    const query = call.query as Query;
    const rows: RowReader = await this.core.fresh();
    const isPublic = call.isAdmin ? publicity(last(query, 'is_public')) : true;
    const minRam = least(query, 'minRam');
    const minDisk = least(query, 'minDisk');
    const name = call.since('2.102') ? last(query, 'name') : undefined;
    const found = (await rows.find(flavorTable)).filter(
      (f) =>
        (isPublic === null || (isPublic ? f.isPublic || f.access.includes(call.token.projectId ?? '') : !f.isPublic)) &&
        f.ram >= minRam &&
        f.disk >= minDisk &&
        (name === undefined || f.name.toLowerCase().includes(name.toLowerCase())),
    );
    const key = sortFields[first(query, 'sort_key') ?? 'flavorid'] ?? sortFields.flavorid!;
    const sign = first(query, 'sort_dir') === 'desc' ? -1 : 1;
    found.sort((a, b) => {
      const x = key(a);
      const y = key(b);
      return x === y ? (a.id < b.id ? -1 : 1) : x < y ? -sign : sign;
    });
    return pageOf(found, query, (f) => f.id);
  }
}

const mayUse = (call: Call, row: FlavorRow) =>
  row.isPublic || call.isAdmin || row.access.includes(call.token.projectId ?? '');

const accessView = (flavor: FlavorRow) => ({
  flavor_access: flavor.access.map((projectId) => ({ flavor_id: flavor.id, tenant_id: projectId })),
});

const sortFields: Readonly<Record<string, (f: FlavorRow) => string | number>> = {
  flavorid: (f) => f.id,
  id: (f) => f.createdAt,
  created_at: (f) => f.createdAt,
  updated_at: (f) => f.updatedAt ?? '',
  name: (f) => f.name,
  description: (f) => f.description ?? '',
  memory_mb: (f) => f.ram,
  root_gb: (f) => f.disk,
  ephemeral_gb: (f) => f.ephemeral,
  swap: (f) => f.swap,
  vcpus: (f) => f.vcpus,
  rxtx_factor: (f) => f.rxtxFactor,
  is_public: (f) => Number(f.isPublic),
};

const publicity = (value: string | undefined): boolean | null => {
  const text = (value ?? 'true').toLowerCase();
  if (text === 'none') return null;
  if (['true', '1', 't', 'yes', 'y', 'on'].includes(text)) return true;
  if (['false', '0', 'f', 'no', 'n', 'off'].includes(text)) return false;
  throw invalid(`Invalid is_public filter [${text.slice(0, 64)}]`);
};

const least = (query: Query, key: string): number => {
  const value = last(query, key);
  if (value === undefined) return 0;
  if (!/^-?[0-9]+$/.test(value)) throw invalid(`Invalid ${key} filter [${value.slice(0, 64)}]`);
  return Number(value);
};
