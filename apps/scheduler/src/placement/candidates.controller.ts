import { Controller } from '@nestjs/common';
import type { ResourceAmounts } from '@omnivisor/contracts';
import { type ByVersion, type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import type { ProviderView } from '../core/world.js';
import { badQuery, grants, hasRoom, type ProviderWish, traitsIn, wishIn } from './query.js';
import { dated, summariesFor } from './views.js';

const one = z.array(z.string());
const limit = z.array(z.string().regex(/^[1-9]\d{0,9}$/));
const NUMBERED = '([1-9]\\d*)';
const NAMED = '([a-zA-Z0-9_-]{1,64})';

const fields = (keys: readonly string[]) => z.strictObject(Object.fromEntries(keys.map((k) => [k, one.optional()])));
const Q_1_10 = fields(['resources']);
const Q_1_16 = Q_1_10.extend({ limit: limit.optional() });
const Q_1_17 = Q_1_16.extend({ required: one.optional() });
const Q_1_21 = Q_1_17.extend({ member_of: one.optional() });
const groups = (keys: string, suffix: string, extra: z.ZodRawShape = {}) =>
  z
    .looseObject({ ...Q_1_21.shape, group_policy: z.array(z.enum(['none', 'isolate'])).optional(), ...extra })
    .superRefine((query, ctx) => {
      const granular = new RegExp(`^(${keys})${suffix}$`);
      for (const key of Object.keys(query))
        if (!granular.test(key) && !(key in Q_1_21.shape) && key !== 'group_policy' && !(key in extra))
          ctx.addIssue({
            code: 'custom',
            message: `Additional properties are not allowed ('${key}' was unexpected)`,
          });
    });
const tree = { in_tree: one.optional() };
const rooted = { ...tree, root_required: one.optional() };
const QUERY: ByVersion<z.ZodType> = [
  ['1.10', Q_1_10],
  ['1.16', Q_1_16],
  ['1.17', Q_1_17],
  ['1.21', Q_1_21],
  ['1.25', groups('resources|required|member_of', NUMBERED)],
  ['1.31', groups('resources|required|member_of|in_tree', NUMBERED, tree)],
  ['1.33', groups('resources|required|member_of|in_tree', NAMED, tree)],
  ['1.35', groups('resources|required|member_of|in_tree', NAMED, rooted)],
  ['1.36', groups('resources|required|member_of|in_tree', NAMED, { ...rooted, same_subtree: one.optional() })],
];

interface Group {
  readonly suffix: string;
  readonly wish: ProviderWish;
}

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
    const since = (v: string) => call.since(v);
    const asked = groupsIn(call).map((suffix): Group => ({ suffix, wish: wishIn(call.query, suffix, world, since) }));
    if (!asked.some((g) => Object.keys(g.wish.resources).length > 0))
      throw badQuery('All request groups lacked resources', 'placement.undefined_code');
    const root = traitsIn(call.query.root_required ?? [], world, { forbidden: true, any: call.since('1.39') });
    const total = sum(asked.map((g) => g.wish.resources));
    const suits = (p: ProviderView) =>
      p.exists &&
      asked.every((g) => grants(p, g.wish)) &&
      hasTotal(p, asked, total) &&
      root.required.every((any) => any.some((t) => p.traits.includes(t))) &&
      !root.forbidden.some((t) => p.traits.includes(t));
    const most = Number(call.query.limit?.at(-1) ?? Number.MAX_SAFE_INTEGER);
    const found = isolated(call, asked) ? [] : first(world.providers.values(), most, suits);
    const summary = summariesFor(total, call);
    return dated(call, {
      allocation_requests: found.map(requestsFor(call, asked, total)),
      provider_summaries: Object.fromEntries(found.map((p) => [p.id, summary(p)])),
    });
  }
}

const first = <T>(items: Iterable<T>, most: number, suits: (item: T) => boolean): T[] => {
  const found: T[] = [];
  for (const item of items) {
    if (found.length >= most) break;
    if (suits(item)) found.push(item);
  }
  return found;
};

/** Allocation requests of one answer: there may be thousands, so what depends on the call alone is asked once. */
const requestsFor = (
  call: Call,
  asked: readonly Group[],
  resources: ResourceAmounts,
): ((provider: ProviderView) => Record<string, unknown>) => {
  if (!call.since('1.12'))
    return ({ id }: ProviderView) => ({ allocations: [{ resource_provider: { uuid: id }, resources }] });
  const suffixes = asked.filter((g) => Object.keys(g.wish.resources).length > 0).map((g) => g.suffix);
  const hasMappings = call.since('1.34');
  return ({ id }: ProviderView) => ({
    allocations: { [id!]: { resources } },
    ...(hasMappings ? { mappings: Object.fromEntries(suffixes.map((suffix) => [suffix, [id]])) } : {}),
  });
};

/** Suffixes of the request groups; the main group's is empty. */
const groupsIn = (call: Call): string[] => {
  const suffixes = new Set<string>(['']);
  if (call.since('1.25'))
    for (const key of Object.keys(call.query)) {
      const match = /^(?:resources|required|member_of|in_tree)(.+)$/.exec(key);
      if (match) suffixes.add(match[1]!);
    }
  for (const suffix of suffixes)
    if (suffix !== '' && call.query[`resources${suffix}`] === undefined && !call.since('1.36'))
      throw badQuery(`All traits in request group ${suffix} must have resources`, 'placement.undefined_code');
  if (suffixes.size > 2 && call.query.group_policy === undefined)
    throw badQuery(
      'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.',
      'placement.query.missing_value',
    );
  return [...suffixes];
};

/** Groups kept apart need a provider each; our trees have one. */
const isolated = (call: Call, asked: readonly Group[]): boolean =>
  call.query.group_policy?.at(-1) === 'isolate' &&
  asked.filter((g) => g.suffix !== '' && Object.keys(g.wish.resources).length > 0).length > 1;

const sum = (amounts: readonly ResourceAmounts[]): ResourceAmounts => {
  const total: Record<string, number> = {};
  for (const one of amounts)
    for (const [name, amount] of Object.entries(one)) total[name] = (total[name] ?? 0) + amount;
  return total;
};

const hasTotal = (p: ProviderView, asked: readonly Group[], total: ResourceAmounts): boolean =>
  asked.length === 1 || hasRoom(p, total);
