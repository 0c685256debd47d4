import { Controller } from '@nestjs/common';
import { type ByVersion, type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import type { World } from '../core/world.js';
import type { Claim } from '../scheduling/provider/provider.js';
import { claimKey } from '../scheduling/provider/provider.js';
import { dated } from './views.js';

const base = { service: 'placement', method: 'GET' } as const;
const one = z.array(z.string());
const project = z.array(z.string().min(1).max(255));
const USAGES_1_9 = z.strictObject({ project_id: project, user_id: project.optional() });
const USAGES_1_38 = USAGES_1_9.extend({ consumer_type: one.optional() });
const USAGES: ByVersion<z.ZodType> = [
  ['1.9', USAGES_1_9],
  ['1.38', USAGES_1_38],
];
/** All our consumers are servers; Nova's name for their type. */
const CONSUMER_TYPE = 'INSTANCE';

const claimsOf = (world: World, serverId: string) =>
  [...(world.claims.get(serverId)?.values() ?? [])].flatMap(({ providerId, attempt }) => {
    const provider = world.providers.get(providerId);
    const claim = provider?.claims.get(claimKey(serverId, attempt));
    return provider && claim ? [{ provider, claim }] : [];
  });

@Controller()
export class AllocationsController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({ ...base, path: '/allocations/:consumer', policy: 'placement:allocations:list' })
  async ofConsumer(call: Call) {
    const claims = claimsOf(await this.core.fresh(), call.params.consumer!);
    const allocations = Object.fromEntries(
      claims.map(({ provider, claim }) => [
        provider.id,
        { generation: provider.revision, resources: { ...claim.resources } },
      ]),
    );
    const last = claims.at(-1)?.claim;
    const newest = claims
      .map((c) => c.provider.updatedAt)
      .sort()
      .at(-1);
    return dated(call, { allocations, ...(last ? this.consumer(call, last) : {}) }, newest);
  }

  @Operation({ ...base, path: '/usages', versions: ['1.9'], policy: 'placement:usages', query: USAGES })
  async usages(call: Call) {
    const projectId = call.query.project_id?.at(-1) ?? '';
    call.enforce('placement:usages', { project_id: projectId });
    const userId = call.query.user_id?.at(-1);
    const type = call.query.consumer_type?.at(-1);
    const world = await this.core.fresh();
    const servers = new Set<string>();
    const usages: Record<string, number> = {};
    for (const provider of world.providers.values())
      for (const claim of provider.claims.values()) {
        if (claim.projectId !== projectId || (userId !== undefined && claim.userId !== userId)) continue;
        servers.add(claim.serverId);
        for (const [name, amount] of Object.entries(claim.resources)) usages[name] = (usages[name] ?? 0) + amount;
      }
    if (!call.since('1.38')) return dated(call, { usages });
    const shown = servers.size > 0 && (type === undefined || type === 'all' || type === CONSUMER_TYPE);
    const group = type === 'all' ? 'all' : CONSUMER_TYPE;
    return dated(call, { usages: shown ? { [group]: { consumer_count: servers.size, ...usages } } : {} });
  }

  private consumer(call: Call, claim: Claim) {
    return {
      ...(call.since('1.12') ? { project_id: claim.projectId, user_id: claim.userId } : {}),
      ...(call.since('1.28') ? { consumer_generation: claim.attempt } : {}),
      ...(call.since('1.38') ? { consumer_type: CONSUMER_TYPE } : {}),
    };
  }
}
