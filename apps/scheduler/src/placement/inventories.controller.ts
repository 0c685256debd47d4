import { Controller } from '@nestjs/common';
import { type Inventory, invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import type { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import { OF_HOST, outdated } from '../registry/registry-lifecycle.js';
import {
  ADD_INVENTORY,
  type InventoryBody,
  inventoriesIn,
  inventoryIn,
  SET_INVENTORIES,
  SET_INVENTORY,
} from './bodies.js';
import { refuseHost } from './providers.controller.js';
import { type PlacementProvider, providerIn } from './providers.js';
import { register } from './registry-writer.js';
import { dated, inventoryView, withGeneration } from './views.js';

const base = { service: 'placement', method: 'GET' } as const;
const rule = (name: string) => `placement:resource_providers:inventories:${name}`;
const ALL = '/resource_providers/:uuid/inventories';
const ONE = `${ALL}/:resource_class`;

@Controller()
export class InventoriesController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({ ...base, path: ALL, policy: rule('list') })
  async list(call: Call) {
    return this.all(call, providerIn(await this.core.fresh(), call.params.uuid!));
  }

  @Operation({ ...base, path: ONE, policy: rule('show') })
  async show(call: Call) {
    return this.one(call, providerIn(await this.core.fresh(), call.params.uuid!), call.params.resource_class!);
  }

  @Operation({ ...base, method: 'POST', path: ALL, policy: rule('create'), body: ADD_INVENTORY, status: 201 })
  async add(call: Call<z.infer<typeof ADD_INVENTORY>>) {
    const provider = await this.own(call);
    const { resource_class: name } = call.body;
    if (provider.inventories[name])
      throw outdated(`Update conflict: There is an inventory of class ${name} for ${provider.id} already.`);
    const changed = await this.set(
      call,
      provider,
      { ...provider.inventories, [name]: inventoryIn(call.body) },
      'create',
    );
    return this.one(call, changed, name, 201);
  }

  @Operation({ ...base, method: 'PUT', path: ALL, policy: rule('update'), body: SET_INVENTORIES })
  async setAll(call: Call<z.infer<typeof SET_INVENTORIES>>) {
    const provider = this.current(await this.own(call), call.body.resource_provider_generation);
    return this.all(call, await this.set(call, provider, inventoriesIn(call.body.inventories)));
  }

  @Operation({ ...base, method: 'PUT', path: ONE, policy: rule('update'), body: SET_INVENTORY })
  async setOne(call: Call<InventoryBody>) {
    const provider = this.current(await this.own(call), call.body.resource_provider_generation);
    const name = call.params.resource_class!;
    if (!provider.inventories[name])
      throw invalid(
        `No inventory record with resource class for resource provider ${provider.id}: No inventory of class ${name} found.`,
      );
    const changed = await this.set(call, provider, { ...provider.inventories, [name]: inventoryIn(call.body) });
    return this.one(call, changed, name);
  }

  @Operation({ ...base, method: 'DELETE', path: ALL, policy: rule('delete'), status: 204, versions: ['1.5'] })
  async deleteAll(call: Call) {
    await this.set(call, await this.own(call), {});
  }

  @Operation({ ...base, method: 'DELETE', path: ONE, policy: rule('delete'), status: 204 })
  async deleteOne(call: Call) {
    const provider = await this.own(call);
    const name = call.params.resource_class!;
    const { [name]: gone, ...kept } = provider.inventories;
    if (!gone) throw notFound(`No inventory of class ${name} found for delete`);
    await this.set(call, provider, kept);
  }

  private async own(call: Call<unknown>): Promise<PlacementProvider> {
    const provider = providerIn(await this.core.fresh(), call.params.uuid!);
    refuseHost(provider, OF_HOST);
    return provider;
  }

  private current(provider: PlacementProvider, generation: number | undefined): PlacementProvider {
    if (generation !== provider.generation) throw outdated('resource provider generation conflict');
    return provider;
  }

  private async set(
    call: Call<unknown>,
    { id, generation }: PlacementProvider,
    inventories: Readonly<Record<string, Inventory>>,
    verb: 'create' | 'update' = 'update',
  ): Promise<PlacementProvider> {
    const mayBeEmpty = call.since('1.26');
    const change = { type: 'setInventories', providerId: id, generation, inventories, mayBeEmpty, verb } as const;
    const { world } = await register(this.core, call as Call, change);
    return providerIn(world, id);
  }

  private all(call: Call<unknown>, provider: PlacementProvider) {
    const all = Object.entries(provider.inventories).map(([name, i]) => [name, inventoryView(i)]);
    const body = withGeneration(provider, { inventories: Object.fromEntries(all) });
    return dated(call, body, { at: provider.updatedAt });
  }

  private one(call: Call<unknown>, provider: PlacementProvider, name: string, status = 200) {
    const inventory = provider.inventories[name];
    if (!inventory) throw notFound(`No inventory of class ${name} for ${call.params.uuid}`);
    const body = inventoryView(inventory);
    return dated(call, provider.generation === 0 ? body : withGeneration(provider, body), {
      at: provider.updatedAt,
      status,
      ...(status === 201 ? { location: `/resource_providers/${provider.id}/inventories/${name}` } : {}),
    });
  }
}
