import { Controller } from '@nestjs/common';
import { DomainError } from '@omnivisor/contracts';
import { type ByVersion, type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import type { ProviderView, World } from '../core/world.js';
import { grants, uuidIn, wishIn } from './query.js';
import { dated, inventoryView, providerView, usagesOf } from './views.js';

const one = z.array(z.string());
const LIST_1_0 = z.strictObject({ name: one.optional(), uuid: one.optional() });
const LIST_1_3 = LIST_1_0.extend({ member_of: one.optional() });
const LIST_1_4 = LIST_1_3.extend({ resources: one.optional() });
const LIST_1_14 = LIST_1_4.extend({ in_tree: one.optional() });
const LIST_1_18 = LIST_1_14.extend({ required: one.optional() });
const LIST: ByVersion<z.ZodType> = [
  ['1.0', LIST_1_0],
  ['1.3', LIST_1_3],
  ['1.4', LIST_1_4],
  ['1.14', LIST_1_14],
  ['1.18', LIST_1_18],
];

const base = { service: 'placement', method: 'GET' } as const;
const rule = (name: string) => `placement:resource_providers:${name}`;
const path = (below = '') => `/resource_providers/:uuid${below}`;

export const providerIn = (world: World, uuid: string): ProviderView => {
  const provider = world.providers.get(uuid.toLowerCase());
  if (!provider?.exists) throw new DomainError('notFound', `No resource provider with uuid ${uuid} found`);
  return provider;
};

@Controller()
export class ProvidersController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({ ...base, path: '/resource_providers', policy: rule('list'), query: LIST })
  async list(call: Call) {
    const world = await this.core.fresh();
    const wish = wishIn(call.query, '', world, (v) => call.since(v));
    const name = call.query.name?.at(-1);
    const uuid = call.query.uuid?.at(-1);
    const wanted = uuid === undefined ? undefined : uuidIn(uuid, 'uuid');
    const found = [...world.providers.values()].filter(
      (p) =>
        p.exists &&
        (name === undefined || p.name === name) &&
        (wanted === undefined || p.id === wanted) &&
        grants(p, wish),
    );
    const newest = found.reduce<string | undefined>((at, p) => (at && at > p.updatedAt ? at : p.updatedAt), undefined);
    return dated(call, { resource_providers: found.map((p) => providerView(p, call)) }, newest);
  }

  @Operation({ ...base, path: path(), policy: rule('show') })
  async show(call: Call) {
    const provider = await this.find(call);
    return dated(call, providerView(provider, call), provider.updatedAt);
  }

  @Operation({ ...base, path: path('/inventories'), policy: rule('inventories:list') })
  async inventories(call: Call) {
    const provider = await this.find(call);
    const all = Object.entries(provider.inventories).map(([name, i]) => [name, inventoryView(i)]);
    return this.answer(call, provider, { inventories: Object.fromEntries(all) });
  }

  @Operation({ ...base, path: path('/inventories/:resource_class'), policy: rule('inventories:show') })
  async inventory(call: Call) {
    const provider = await this.find(call);
    const name = call.params.resource_class!;
    const inventory = provider.inventories[name];
    if (!inventory)
      throw new DomainError('notFound', `No inventory of class ${name} for resource provider ${provider.id}`);
    return this.answer(call, provider, inventoryView(inventory));
  }

  @Operation({ ...base, path: path('/usages'), policy: rule('usages') })
  async usages(call: Call) {
    const provider = await this.find(call);
    return this.answer(call, provider, { usages: usagesOf(provider) });
  }

  @Operation({ ...base, path: path('/aggregates'), versions: ['1.1'], policy: rule('aggregates:list') })
  async aggregates(call: Call) {
    const provider = await this.find(call);
    const body = { aggregates: provider.aggregates };
    return call.since('1.19') ? this.answer(call, provider, body) : dated(call, body, provider.updatedAt);
  }

  @Operation({ ...base, path: path('/traits'), versions: ['1.6'], policy: rule('traits:list') })
  async traits(call: Call) {
    const provider = await this.find(call);
    return this.answer(call, provider, { traits: provider.traits });
  }

  @Operation({ ...base, path: path('/allocations'), policy: rule('allocations:list') })
  async allocations(call: Call) {
    const provider = await this.find(call);
    const byServer: Record<string, { resources: Record<string, number>; consumer_generation?: number }> = {};
    for (const { serverId, attempt, resources } of provider.claims.values()) {
      byServer[serverId] = {
        resources: { ...resources },
        ...(call.since('1.28') ? { consumer_generation: attempt } : {}),
      };
    }
    return this.answer(call, provider, { allocations: byServer });
  }

  private async find(call: Call): Promise<ProviderView> {
    return providerIn(await this.core.fresh(), call.params.uuid!);
  }

  private answer(call: Call, provider: ProviderView, body: object) {
    return dated(call, { ...body, resource_provider_generation: provider.revision }, provider.updatedAt);
  }
}
