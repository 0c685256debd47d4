import { Controller } from '@nestjs/common';
import { invalid } from '@omnivisor/contracts';
import { type ByVersion, type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import type { WantedAllocations } from '../registry/registry-lifecycle.js';
import { ALLOCATE, ALLOCATE_MANY, type AllocationsBody, inventoriesIn, RESHAPER, type ReshaperBody } from './bodies.js';
import { allocationsIn, allocationsOf, UNKNOWN_TYPE, uuidOf } from './providers.js';
import { register } from './registry-writer.js';
import { dated } from './views.js';

const base = { service: 'placement', method: 'GET' } as const;
const rule = (name: string) => `placement:allocations:${name}`;
const ONE = '/allocations/:consumer';
/** Whom a consumer belongs to before clients had to say, as Placement has it. */
const NOBODY = '00000000-0000-0000-0000-000000000000';

const owner = z.array(z.string().min(1).max(255));
const USAGES_1_9 = z.strictObject({ project_id: owner, user_id: owner.optional() });
const type = z.array(
  z
    .string()
    .regex(/^[A-Z0-9_]+$|^all|^unknown$/)
    .max(255),
);
const USAGES: ByVersion<z.ZodType> = [
  ['1.9', USAGES_1_9],
  ['1.38', USAGES_1_9.extend({ consumer_type: type.optional() })],
];

const wantedOf = (consumerId: string, body: AllocationsBody): WantedAllocations => ({
  consumerId,
  projectId: body.project_id ?? NOBODY,
  userId: body.user_id ?? NOBODY,
  consumerType: body.consumer_type ?? null,
  generation: body.consumer_generation,
  allocations: Object.fromEntries(Object.entries(body.allocations).map(([id, { resources }]) => [id, resources])),
});

@Controller()
export class AllocationsController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({ ...base, path: ONE, policy: rule('list') })
  async ofConsumer(call: Call) {
    const found = allocationsOf(await this.core.fresh(), uuidOf(call.params.consumer!) ?? '');
    const allocations = Object.fromEntries(
      found.map(({ provider, resources }) => [provider.id, { generation: provider.generation, resources }]),
    );
    const newest = found
      .map((a) => a.updatedAt)
      .sort()
      .at(-1);
    const last = found.at(-1);
    const consumer = last && {
      ...(call.since('1.12') ? { project_id: last.projectId, user_id: last.userId } : {}),
      ...(call.since('1.28') ? { consumer_generation: last.generation } : {}),
      ...(call.since('1.38') ? { consumer_type: last.type ?? UNKNOWN_TYPE } : {}),
    };
    return dated(call, { allocations, ...consumer }, { at: newest ?? '' });
  }

  @Operation({ ...base, method: 'PUT', path: ONE, policy: rule('update'), body: ALLOCATE, status: 204 })
  async allocate(call: Call<AllocationsBody>) {
    const consumerId = uuidOf(call.params.consumer!);
    if (consumerId === undefined) throw invalid(`Malformed consumer_uuid: ${call.params.consumer}`);
    await register(this.core, call, { type: 'allocate', wanted: [wantedOf(consumerId, call.body)] });
  }

  @Operation({
    ...base,
    method: 'POST',
    path: '/allocations',
    versions: ['1.13'],
    policy: rule('manage'),
    body: ALLOCATE_MANY,
    status: 204,
  })
  async allocateMany(call: Call<Record<string, AllocationsBody>>) {
    const wanted = Object.entries(call.body).map(([consumerId, body]) => wantedOf(consumerId, body));
    await register(this.core, call, { type: 'allocate', wanted });
  }

  @Operation({
    ...base,
    method: 'POST',
    path: '/reshaper',
    versions: ['1.30'],
    policy: 'placement:reshaper:reshape',
    body: RESHAPER,
    status: 204,
  })
  async reshape(call: Call<ReshaperBody>) {
    const inventories = Object.entries(call.body.inventories).map(([providerId, body]) => ({
      providerId,
      generation: body.resource_provider_generation,
      inventories: inventoriesIn(body.inventories),
    }));
    const wanted = Object.entries(call.body.allocations).map(([consumerId, body]) => wantedOf(consumerId, body));
    await register(this.core, call, { type: 'reshape', inventories, wanted });
  }

  @Operation({ ...base, method: 'DELETE', path: ONE, policy: rule('delete'), status: 204 })
  async delete(call: Call) {
    const given = call.params.consumer!;
    await register(this.core, call, { type: 'deleteAllocations', consumerId: uuidOf(given) ?? given });
  }

  @Operation({ ...base, path: '/usages', versions: ['1.9'], policy: 'placement:usages', query: USAGES })
  async usages(call: Call) {
    const projectId = call.query.project_id?.at(-1) ?? '';
    call.enforce('placement:usages', { project_id: projectId });
    const userId = call.query.user_id?.at(-1);
    const world = await this.core.fresh();
    const mine = [...allocationsIn(world)].filter(
      (a) => a.projectId === projectId && (userId === undefined || a.userId === userId),
    );
    if (!call.since('1.38')) return dated(call, { usages: sum(mine) });
    return dated(call, { usages: byType(mine, call.query.consumer_type?.at(-1)) });
  }
}

type Taken = { readonly consumerId: string; readonly type: string | null; readonly resources: Record<string, number> };

const sum = (allocations: readonly Taken[]): Record<string, number> => {
  const usages: Record<string, number> = {};
  for (const { resources } of allocations)
    for (const [name, amount] of Object.entries(resources)) usages[name] = (usages[name] ?? 0) + amount;
  return usages;
};

const counted = (allocations: readonly Taken[]) => ({
  consumer_count: new Set(allocations.map((a) => a.consumerId)).size,
  ...sum(allocations),
});

/** @param wanted a type, `unknown` for those of none, `all` for one sum of all; undefined for a sum of each */
const byType = (allocations: readonly Taken[], wanted: string | undefined) => {
  if (wanted === 'all') return allocations.length > 0 ? { all: counted(allocations) } : {};
  const nameOf = (a: Taken) => a.type ?? UNKNOWN_TYPE;
  const shown = [...new Set(allocations.map(nameOf))].filter((name) => wanted === undefined || name === wanted);
  return Object.fromEntries(shown.map((name) => [name, counted(allocations.filter((a) => nameOf(a) === name))]));
};
