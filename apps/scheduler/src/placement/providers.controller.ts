import { Controller } from '@nestjs/common';
import { conflict } from '@omnivisor/contracts';
import { type ByVersion, type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import type { World } from '../core/world.js';
import { CREATE_PROVIDER, type ProviderBody, UPDATE_PROVIDER } from './bodies.js';
import { allocationsIn, type PlacementProvider, providerIn, providersOf, uuidOf } from './providers.js';
import { badQuery, grants, unknownTraits, wishIn } from './query.js';
import { register } from './registry-writer.js';
import { dated, located, providerView, usagesOf, withGeneration } from './views.js';

const one = z.array(z.string());
const uuid = z.array(z.string().refine((text) => uuidOf(text) !== undefined, 'is not a uuid'));
const LIST_1_0 = z.strictObject({ name: one.optional(), uuid: uuid.optional() });
const LIST_1_3 = LIST_1_0.extend({ member_of: one.optional() });
const LIST_1_4 = LIST_1_3.extend({ resources: one.optional() });
const LIST_1_14 = LIST_1_4.extend({ in_tree: uuid.optional() });
const LIST: ByVersion<z.ZodType> = [
  ['1.0', LIST_1_0],
  ['1.3', LIST_1_3],
  ['1.4', LIST_1_4],
  ['1.14', LIST_1_14],
  ['1.18', LIST_1_14.extend({ required: one.optional() })],
];

const base = { service: 'placement', method: 'GET' } as const;
const rule = (name: string) => `placement:resource_providers:${name}`;
const path = (below = '') => `/resource_providers/:uuid${below}`;

/** What a compute host has it says itself. */
export const refuseHost = (provider: PlacementProvider, what: string): void => {
  if (provider.isHost) throw conflict(`Resource provider ${provider.id} is a compute host: ${what}`);
};

@Controller()
export class ProvidersController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({ ...base, path: '/resource_providers', policy: rule('list'), query: LIST })
  async list(call: Call) {
    const world = await this.core.fresh();
    const providers = providersOf(world);
    const found = [...providers.values()].filter(this.filter(call, world, providers));
    const newest = found
      .map((p) => p.updatedAt)
      .sort()
      .at(-1);
    const body = { resource_providers: found.map((p) => providerView(p, call)) };
    return dated(call, body, newest === undefined ? {} : { at: newest });
  }

  @Operation({
    ...base,
    method: 'POST',
    path: '/resource_providers',
    policy: rule('create'),
    body: CREATE_PROVIDER,
    status: [
      ['1.0', 201],
      ['1.20', 200],
    ],
  })
  async create(call: Call<ProviderBody>) {
    const { name, uuid = this.core.ids.uuid(), parent_provider_uuid: parentId = null } = call.body;
    const { world } = await register(this.core, call, { type: 'registerProvider', id: uuid, name, parentId });
    const location = `/resource_providers/${uuid}`;
    if (!call.since('1.20')) return located(call, location, 201);
    const provider = providerIn(world, uuid);
    return dated(call, providerView(provider, call), { at: provider.updatedAt, location });
  }

  @Operation({ ...base, path: path(), policy: rule('show') })
  async show(call: Call) {
    const provider = await this.find(call);
    return dated(call, providerView(provider, call), { at: provider.updatedAt });
  }

  @Operation({ ...base, method: 'PUT', path: path(), policy: rule('update'), body: UPDATE_PROVIDER })
  async update(call: Call<ProviderBody>) {
    const { id } = this.own(await this.find(call));
    const { name, parent_provider_uuid: parentId } = call.body;
    const moves = call.since('1.37');
    const { world } = await register(this.core, call, { type: 'changeProvider', id, name, parentId, moves });
    const provider = providerIn(world, id);
    return dated(call, providerView(provider, call), { at: provider.updatedAt });
  }

  @Operation({ ...base, method: 'DELETE', path: path(), policy: rule('delete'), status: 204 })
  async delete(call: Call) {
    const given = call.params.uuid!;
    const id = uuidOf(given) ?? given;
    const provider = providersOf(await this.core.fresh()).get(id);
    if (provider) this.own(provider);
    await register(this.core, call, { type: 'unregisterProvider', id });
  }

  @Operation({ ...base, path: path('/usages'), policy: rule('usages') })
  async usages(call: Call) {
    const provider = await this.find(call);
    return dated(call, withGeneration(provider, { usages: usagesOf(provider) }));
  }

  @Operation({ ...base, path: path('/allocations'), policy: rule('allocations:list') })
  async allocations(call: Call) {
    const world = await this.core.fresh();
    const provider = providerIn(world, call.params.uuid!);
    const allocations: Record<string, object> = {};
    let newest = '';
    for (const { provider: of, consumerId, resources, generation, updatedAt } of allocationsIn(world)) {
      if (of.id !== provider.id) continue;
      allocations[consumerId] = { resources, ...(call.since('1.28') ? { consumer_generation: generation } : {}) };
      if (updatedAt > newest) newest = updatedAt;
    }
    return dated(call, withGeneration(provider, { allocations }), { at: newest });
  }

  private async find(call: Call<unknown>): Promise<PlacementProvider> {
    return providerIn(await this.core.fresh(), call.params.uuid!);
  }

  private own(provider: PlacementProvider): PlacementProvider {
    refuseHost(provider, 'it bears the name of its host and goes with it.');
    return provider;
  }

  private filter(
    call: Call,
    world: World,
    providers: Map<string, PlacementProvider>,
  ): (p: PlacementProvider) => boolean {
    const wish = wishIn(call.query, '', world, (v) => call.since(v));
    const unknown = unknownTraits(world, wish);
    if (unknown.length > 0)
      throw badQuery(`Invalid trait(s) in "required" parameter: No such trait(s): ${unknown.join(', ')}.`);
    const name = call.query.name?.at(-1);
    const id = call.query.uuid?.at(-1);
    const wanted = id === undefined ? undefined : uuidOf(id);
    const root = wish.inTree === null ? undefined : (providers.get(wish.inTree)?.rootId ?? null);
    return (p) =>
      (name === undefined || p.name === name) &&
      (wanted === undefined || p.id === wanted) &&
      (root === undefined || p.rootId === root) &&
      grants(p, wish);
  }
}
