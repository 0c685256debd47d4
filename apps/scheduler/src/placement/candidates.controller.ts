import { Controller } from '@nestjs/common';
import { type Call, Operation } from '@omnivisor/openstack';
import { SchedulerCore } from '../core/scheduler-core.js';
import { type Candidate, findCandidates } from './candidates.js';
import { QUERY, requestIn } from './candidates-query.js';
import { providersOf } from './providers.js';
import { dated, summaryView } from './views.js';

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
    const used = [...new Set(found.flatMap((c) => [...c.resources.keys()]))];
    const roots = new Set(used.map((p) => p.rootId));
    // The whole tree, once clients knew of trees.
    const told = call.since('1.29') ? [...providers.values()].filter((p) => roots.has(p.rootId)) : used;
    const asked = new Set(request.groups.flatMap((g) => Object.keys(g.wish.resources)));
    return dated(call, {
      allocation_requests: found.map((c) => requestView(c, call)),
      provider_summaries: Object.fromEntries(told.map((p) => [p.id, summaryView(p, asked, call)])),
    });
  }
}

const requestView = ({ resources, mappings }: Candidate, call: Call) => {
  const all = [...resources];
  if (!call.since('1.12'))
    return { allocations: all.map(([p, amounts]) => ({ resource_provider: { uuid: p.id }, resources: amounts })) };
  return {
    allocations: Object.fromEntries(all.map(([p, amounts]) => [p.id, { resources: amounts }])),
    ...(call.since('1.34') ? { mappings } : {}),
  };
};
