import { Controller } from '@nestjs/common';
import { type Call, Operation } from '@omnivisor/openstack';
import { SchedulerCore } from '../core/scheduler-core.js';
import { type Candidate, findCandidates } from './candidates.js';
import { QUERY, requestIn } from './candidates-query.js';
import { type PlacementProvider, providersOf } from './providers.js';
import { dated, summariesFor } from './views.js';

@Controller()
export class CandidatesController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({
    service: 'placement',
    method: 'GET',
    path: '/allocation_candidates',
    versions: ['1.10'],
    policy: 'placement:allocation_candidates:list',
    query: QUERY,
  })
  async list(call: Call) {
    const world = await this.core.fresh();
    const request = requestIn(call, world);
    const providers = providersOf(world);
    const found = findCandidates(providers, request);
    const used = new Set<PlacementProvider>();
    for (const { resources } of found) for (const provider of resources.keys()) used.add(provider);
    const roots = new Set([...used].map((p) => p.rootId));
    // The whole tree, once clients knew of trees.
    const told = call.since('1.29') ? [...providers.values()].filter((p) => roots.has(p.rootId)) : [...used];
    const summary = summariesFor(new Set(request.groups.flatMap((g) => Object.keys(g.wish.resources))), call);
    return dated(call, {
      allocation_requests: found.map(requestsFor(call)),
      provider_summaries: Object.fromEntries(told.map((p) => [p.id, summary(p)])),
    });
  }
}

/** Allocation requests of one answer: there may be thousands, so what depends on the call alone is asked once. */
const requestsFor = (call: Call): ((candidate: Candidate) => Record<string, unknown>) => {
  if (!call.since('1.12'))
    return ({ resources }) => ({
      allocations: [...resources].map(([p, amounts]) => ({ resource_provider: { uuid: p.id }, resources: amounts })),
    });
  const hasMappings = call.since('1.34');
  return ({ resources, mappings }) => {
    const allocations: Record<string, object> = {};
    for (const [p, amounts] of resources) allocations[p.id] = { resources: amounts };
    return hasMappings ? { allocations, mappings } : { allocations };
  };
};
