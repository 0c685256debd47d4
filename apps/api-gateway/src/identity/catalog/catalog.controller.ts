import { Controller } from '@nestjs/common';
import { conflict, forbidden, invalid } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, Enabled, extraOf, filtered, given, one, rootOf, selfLink } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { endpoints, regions, services } from '../record/aggregates.js';
import { missing } from '../record/record.js';
import { type RegionRow, regionTable } from '../record/tables.js';
import type { EndpointView, ServiceView } from './catalog.js';

const regionFields = {
  id: z.string().max(255).optional(),
  description: z.string().nullable().optional(),
  parent_region_id: z.string().max(255).nullable().optional(),
};
const serviceFields = {
  type: z.string().min(1).max(255),
  name: z.string().max(255).nullable().optional(),
  enabled: Enabled.optional(),
  description: z.string().nullable().optional(),
};
const endpointFields = {
  service_id: z.string(),
  interface: z.enum(['public', 'internal', 'admin']),
  url: z.string().min(1).max(2048),
  enabled: Enabled.optional(),
  region: z.string().max(255).nullable().optional(),
  region_id: z.string().max(255).nullable().optional(),
};
const known = (fields: object) => [...Object.keys(fields), 'id', 'links'];
const RegionBody = z.looseObject({ region: z.looseObject(regionFields) });
const ServiceBody = z.looseObject({ service: z.looseObject(serviceFields) });
const ServicePatch = z.looseObject({
  service: z.looseObject({ ...serviceFields, type: serviceFields.type.optional() }),
});
const EndpointBody = z.looseObject({ endpoint: z.looseObject(endpointFields) });
const EndpointPatch = z.looseObject({
  endpoint: z.looseObject({
    ...endpointFields,
    service_id: endpointFields.service_id.optional(),
    interface: endpointFields.interface.optional(),
    url: endpointFields.url.optional(),
  }),
});

const service = 'identity';

/** Regions, services and endpoints. What this cloud serves itself is listed with them and cannot be changed here. */
@Controller()
export class CatalogController {
  constructor(private readonly desk: IdentityDesk) {}

  @Operation({ service, method: 'GET', path: '/v3/regions', policy: 'identity:list_regions' })
  async regions(call: Call) {
    const views = (await this.allRegions()).map((r) => regionView(call, r));
    return collection(call, 'regions', filtered(call, views, ['parent_region_id']));
  }

  @Operation({
    service,
    method: 'POST',
    path: '/v3/regions',
    policy: 'identity:create_region',
    body: RegionBody,
    status: 201,
  })
  async createRegion(call: Call<z.infer<typeof RegionBody>>) {
    return this.makeRegion(call, call.body.region.id || this.desk.core.ids.hex());
  }

  @Operation({
    service,
    method: 'PUT',
    path: '/v3/regions/:id',
    policy: 'identity:create_region',
    body: RegionBody,
    status: 201,
  })
  async putRegion(call: Call<z.infer<typeof RegionBody>>) {
    const id = call.params.id!;
    const { id: named = id } = call.body.region;
    if (named !== id) throw invalid(`Conflicting region IDs specified: "${id}" != "${named}"`);
    return this.makeRegion(call, id);
  }

  private async makeRegion(call: Call<z.infer<typeof RegionBody>>, id: string) {
    const { region } = call.body;
    if (id === this.desk.catalog.region)
      throw conflict(`Conflict occurred attempting to store region - Duplicate ID, ${id}..`);
    const parent = region.parent_region_id ?? null;
    if (parent !== null) await this.region(parent);
    const attributes = {
      description: region.description ?? '',
      parentRegionId: parent,
      extra: extraOf(region, known(regionFields)),
    };
    const key = Buffer.from(id).toString('hex');
    await this.desk.execute(regions, key, { type: 'create', id, attributes }, call.context());
    return { region: regionView(call as Call, { ...attributes, id, createdAt: this.desk.core.clock.now() }) };
  }

  @Operation({ service, method: 'GET', path: '/v3/regions/:id', policy: 'identity:get_region' })
  async showRegion(call: Call) {
    return { region: regionView(call, await this.region(call.params.id!)) };
  }

  @Operation({ service, method: 'PATCH', path: '/v3/regions/:id', policy: 'identity:update_region', body: RegionBody })
  async updateRegion(call: Call) {
    const row = await this.ownRegion(call.params.id!);
    const { region } = call.body as z.infer<typeof RegionBody>;
    const parent = region.parent_region_id;
    for (let at: string | null | undefined = parent; at; at = (await this.region(at)).parentRegionId)
      if (at === row.id)
        throw invalid(`The specified parent region ${parent} would create a circular region hierarchy.`);
    const changes = given({
      description: region.description === null ? '' : region.description,
      parentRegionId: parent,
      extra: extraOf(region, known(regionFields)),
    });
    const key = Buffer.from(row.id).toString('hex');
    await this.desk.execute(regions, key, { type: 'update', id: row.id, changes }, call.context());
    return { region: regionView(call, await this.region(row.id)) };
  }

  @Operation({ service, method: 'DELETE', path: '/v3/regions/:id', policy: 'identity:delete_region', status: 204 })
  async deleteRegion(call: Call) {
    const row = await this.ownRegion(call.params.id!);
    const used =
      (await this.allRegions()).some((r) => r.parentRegionId === row.id) ||
      (await this.endpointsOf(call)).some((e) => e.regionId === row.id);
    if (used)
      throw forbidden(`Unable to delete region ${row.id} because it or its child regions have associated endpoints.`);
    await this.desk.execute(
      regions,
      Buffer.from(row.id).toString('hex'),
      { type: 'delete', id: row.id },
      call.context(),
    );
  }

  @Operation({ service, method: 'GET', path: '/v3/services', policy: 'identity:list_services' })
  async services(call: Call) {
    const views = (await this.allServices()).map((s) => serviceView(call, s));
    return collection(call, 'services', filtered(call, views, ['type', 'name']));
  }

  @Operation({
    service,
    method: 'POST',
    path: '/v3/services',
    policy: 'identity:create_service',
    body: ServiceBody,
    status: 201,
  })
  async createService(call: Call) {
    const body = (call.body as z.infer<typeof ServiceBody>).service;
    const id = this.desk.core.ids.hex();
    const attributes = {
      type: body.type,
      name: body.name ?? null,
      enabled: body.enabled ?? true,
      description: body.description ?? null,
      extra: extraOf(body, known(serviceFields)),
    };
    await this.desk.execute(services, id, { type: 'create', id, attributes }, call.context());
    return { service: serviceView(call, await this.service(id)) };
  }

  @Operation({ service, method: 'GET', path: '/v3/services/:id', policy: 'identity:get_service' })
  async showService(call: Call) {
    return { service: serviceView(call, await this.service(call.params.id!)) };
  }

  @Operation({
    service,
    method: 'PATCH',
    path: '/v3/services/:id',
    policy: 'identity:update_service',
    body: ServicePatch,
  })
  async updateService(call: Call) {
    const { id } = own(await this.service(call.params.id!));
    const { type, name, enabled, description, ...rest } = (call.body as z.infer<typeof ServicePatch>).service;
    const changes = given({ type, name, enabled, description, extra: extraOf(rest, known(serviceFields)) });
    await this.desk.execute(services, id, { type: 'update', id, changes }, call.context());
    return { service: serviceView(call, await this.service(id)) };
  }

  @Operation({ service, method: 'DELETE', path: '/v3/services/:id', policy: 'identity:delete_service', status: 204 })
  async deleteService(call: Call) {
    const { id } = own(await this.service(call.params.id!));
    for (const endpoint of (await this.endpointsOf(call)).filter((e) => e.serviceId === id))
      await this.desk.execute(endpoints, endpoint.id, { type: 'delete', id: endpoint.id }, call.context(endpoint.id));
    await this.desk.execute(services, id, { type: 'delete', id }, call.context());
  }

  @Operation({ service, method: 'GET', path: '/v3/endpoints', policy: 'identity:list_endpoints' })
  async endpoints(call: Call) {
    const views = (await this.endpointsOf(call)).map((e) => endpointView(call, e));
    const wanted = one(call, 'region') === undefined ? views : views.filter((v) => v.region === one(call, 'region'));
    return collection(call, 'endpoints', filtered(call, wanted, ['interface', 'service_id', 'region_id']));
  }

  @Operation({
    service,
    method: 'POST',
    path: '/v3/endpoints',
    policy: 'identity:create_endpoint',
    body: EndpointBody,
    status: 201,
  })
  async createEndpoint(call: Call) {
    const { endpoint } = call.body as z.infer<typeof EndpointBody>;
    await this.checkEndpoint(endpoint);
    await this.ensureRegion(call, endpoint);
    const id = this.desk.core.ids.hex();
    const attributes = {
      serviceId: endpoint.service_id,
      interface: endpoint.interface,
      regionId: endpoint.region_id ?? endpoint.region ?? null,
      url: endpoint.url,
      enabled: endpoint.enabled ?? true,
      extra: extraOf(endpoint, known(endpointFields)),
    };
    await this.desk.execute(endpoints, id, { type: 'create', id, attributes }, call.context());
    return { endpoint: endpointView(call, await this.endpoint(call, id)) };
  }

  @Operation({ service, method: 'GET', path: '/v3/endpoints/:id', policy: 'identity:get_endpoint' })
  async showEndpoint(call: Call) {
    return { endpoint: endpointView(call, await this.endpoint(call, call.params.id!)) };
  }

  @Operation({
    service,
    method: 'PATCH',
    path: '/v3/endpoints/:id',
    policy: 'identity:update_endpoint',
    body: EndpointPatch,
  })
  async updateEndpoint(call: Call) {
    const { id } = own(await this.endpoint(call, call.params.id!));
    const { endpoint } = call.body as z.infer<typeof EndpointPatch>;
    await this.checkEndpoint(endpoint);
    await this.ensureRegion(call, endpoint);
    const changes = given({
      serviceId: endpoint.service_id,
      interface: endpoint.interface,
      regionId: endpoint.region_id ?? endpoint.region,
      url: endpoint.url,
      enabled: endpoint.enabled,
      extra: extraOf(endpoint, known(endpointFields)),
    });
    await this.desk.execute(endpoints, id, { type: 'update', id, changes }, call.context());
    return { endpoint: endpointView(call, await this.endpoint(call, id)) };
  }

  @Operation({ service, method: 'DELETE', path: '/v3/endpoints/:id', policy: 'identity:delete_endpoint', status: 204 })
  async deleteEndpoint(call: Call) {
    const { id } = own(await this.endpoint(call, call.params.id!));
    await this.desk.execute(endpoints, id, { type: 'delete', id }, call.context());
  }

  private async checkEndpoint(e: {
    service_id?: string | undefined;
    region_id?: string | null | undefined;
    url?: string | undefined;
  }) {
    if (e.service_id !== undefined)
      await this.service(e.service_id, invalid(`Endpoint service ${e.service_id} not found`));
    if (typeof e.region_id === 'string')
      await this.region(e.region_id, invalid(`Endpoint region ${e.region_id} not found`));
    if (e.url !== undefined && !/^https?:\/\/[^\s"<>]+$/.test(e.url))
      throw invalid(`Cannot create an endpoint with an invalid URL: ${e.url.slice(0, 200)}.`);
  }

  /** A region in the older field is made when it is not there. */
  private async ensureRegion(
    call: Call,
    { region, region_id }: { region?: string | null | undefined; region_id?: string | null | undefined },
  ): Promise<void> {
    if (typeof region_id === 'string' || typeof region !== 'string') return;
    if ((await this.allRegions()).some((r) => r.id === region)) return;
    const attributes = { description: '', parentRegionId: null, extra: {} };
    const key = Buffer.from(region).toString('hex');
    const command = { type: 'create', id: region, attributes } as const;
    await this.desk.execute(regions, key, command, call.context('region'));
  }

  private async allRegions(): Promise<RegionRow[]> {
    const own = {
      id: this.desk.catalog.region,
      description: '',
      parentRegionId: null,
      extra: {},
      createdAt: this.desk.core.clock.now(),
    };
    return [own, ...(await (await this.desk.fresh()).find(regionTable))];
  }

  private async region(id: string, otherwise: Error = missing('region', id)): Promise<RegionRow> {
    const row = (await this.allRegions()).find((r) => r.id === id);
    if (!row) throw otherwise;
    return row;
  }

  private async ownRegion(id: string): Promise<RegionRow> {
    const row = await this.region(id);
    if (id === this.desk.catalog.region) throw builtIn();
    return row;
  }

  private async allServices(): Promise<readonly ServiceView[]> {
    return this.desk.catalog.services(await this.desk.fresh());
  }

  private async service(id: string, otherwise: Error = missing('service', id)): Promise<ServiceView> {
    const row = (await this.allServices()).find((s) => s.id === id);
    if (!row) throw otherwise;
    return row;
  }

  private async endpointsOf(call: Call): Promise<EndpointView[]> {
    return this.desk.catalog.endpoints(await this.desk.fresh(), rootOf(call));
  }

  private async endpoint(call: Call, id: string): Promise<EndpointView> {
    const row = (await this.endpointsOf(call)).find((e) => e.id === id);
    if (!row) throw missing('endpoint', id);
    return row;
  }
}

const builtIn = () =>
  forbidden('What this cloud serves itself is set by its configuration and cannot be changed here.');

const own = <T extends { builtIn: boolean }>(view: T): T => {
  if (view.builtIn) throw builtIn();
  return view;
};

const regionView = (call: Call, row: RegionRow) => ({
  ...row.extra,
  id: row.id,
  description: row.description,
  parent_region_id: row.parentRegionId,
  links: selfLink(call, `regions/${encodeURIComponent(row.id)}`),
});

const serviceView = (call: Call, s: ServiceView) => ({
  ...s.extra,
  id: s.id,
  type: s.type,
  name: s.name,
  enabled: s.enabled,
  description: s.description,
  links: selfLink(call, `services/${s.id}`),
});

const endpointView = (call: Call, e: EndpointView) => ({
  ...e.extra,
  id: e.id,
  service_id: e.serviceId,
  interface: e.interface,
  region: e.regionId,
  region_id: e.regionId,
  url: e.url,
  enabled: e.enabled,
  links: selfLink(call, `endpoints/${e.id}`),
});
