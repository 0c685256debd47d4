import { Controller } from '@nestjs/common';
import type { ProviderId } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { SchedulerCore } from '../core/scheduler-core.js';
import { outdated } from '../registry/registry-lifecycle.js';
import { type AggregatesBody, SET_AGGREGATES } from './bodies.js';
import { type PlacementProvider, providerIn } from './providers.js';
import { register } from './registry-writer.js';
import { dated, withGeneration } from './views.js';

const base = {
  service: 'placement',
  path: '/resource_providers/:uuid/aggregates',
  versions: ['1.1'],
} as const;

@Controller()
export class AggregatesController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({ ...base, method: 'GET', policy: 'placement:resource_providers:aggregates:list' })
  async list(call: Call) {
    return this.answer(call, providerIn(await this.core.fresh(), call.params.uuid!));
  }

  @Operation({
    ...base,
    method: 'PUT',
    policy: 'placement:resource_providers:aggregates:update',
    body: SET_AGGREGATES,
  })
  async set(call: Call<AggregatesBody>) {
    const provider = providerIn(await this.core.fresh(), call.params.uuid!);
    const counts = !Array.isArray(call.body);
    const aggregates = Array.isArray(call.body) ? call.body : call.body.aggregates;
    const generation = Array.isArray(call.body) ? undefined : call.body.resource_provider_generation;
    if (generation !== undefined && generation !== provider.generation) throw outdated();
    const { id } = provider;
    if (provider.isHost)
      await this.core.providers.execute(
        { type: 'setAggregates', providerId: id as ProviderId, aggregates },
        call.context(),
      );
    else await register(this.core, call, { type: 'setAggregates', providerId: id, generation, aggregates, counts });
    return this.answer(call, providerIn(await this.core.fresh(), id));
  }

  private answer(call: Call<unknown>, provider: PlacementProvider) {
    const body = { aggregates: provider.aggregates };
    return dated(call, call.since('1.19') ? withGeneration(provider, body) : body);
  }
}
