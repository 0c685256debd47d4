import type { ByVersion, Call } from '@omnivisor/openstack';
import { z } from 'zod';
import type { World } from '../core/world.js';
import type { CandidatesRequest, RequestGroup } from './candidates.js';
import { badQuery, traitsIn, unknownTraits, wishIn } from './query.js';

const one = z.array(z.string());
const fields = {
  '1.10': { resources: one },
  '1.16': { limit: z.array(z.string().regex(/^[1-9]\d*$/)).optional() },
  '1.17': { required: one.optional() },
  '1.21': { member_of: one.optional() },
  '1.25': { resources: one.optional(), group_policy: z.array(z.enum(['none', 'isolate'])).optional() },
  '1.31': { in_tree: one.optional() },
  '1.35': { root_required: one.optional() },
  '1.36': { same_subtree: one.optional() },
} satisfies Record<string, z.ZodRawShape>;
const KEYS = ['resources', 'required', 'member_of', 'in_tree'];

/** @param suffix of granular groups, as a pattern */
const grouped = (shape: z.ZodRawShape, suffix: string) => {
  const granular = new RegExp(`^(?:${KEYS.filter((key) => key in shape).join('|')})${suffix}$`);
  return z.looseObject(shape).superRefine((query, ctx) => {
    const unknown = Object.keys(query).filter((key) => !(key in shape) && !granular.test(key));
    for (const key of unknown)
      ctx.addIssue({ code: 'custom', message: `Additional properties are not allowed ('${key}' was unexpected)` });
  });
};

const NUMBER = '[1-9][0-9]*';
const NAME = '[a-zA-Z0-9_-]{1,64}';

const upTo = (last: keyof typeof fields): z.ZodRawShape =>
  Object.fromEntries(
    Object.entries(fields)
      .filter(([since]) => since <= last)
      .flatMap(([, shape]) => Object.entries(shape)),
  );

export const QUERY: ByVersion<z.ZodType> = [
  ['1.10', z.strictObject(upTo('1.10'))],
  ['1.16', z.strictObject(upTo('1.16'))],
  ['1.17', z.strictObject(upTo('1.17'))],
  ['1.21', z.strictObject(upTo('1.21'))],
  ['1.25', grouped(upTo('1.25'), NUMBER)],
  ['1.31', grouped(upTo('1.31'), NUMBER)],
  ['1.33', grouped(upTo('1.31'), NAME)],
  ['1.35', grouped(upTo('1.35'), NAME)],
  ['1.36', grouped(upTo('1.36'), NAME)],
];

const quoted = (list: readonly string[]) => `[${list.map((s) => `'${s}'`).join(', ')}]`;
const VALUE = 'placement.query.bad_value';

const groupsIn = (call: Call, world: World): RequestGroup[] => {
  const suffixes = new Set<string>();
  for (const key of Object.keys(call.query)) {
    const prefix = KEYS.find((k) => key.startsWith(k));
    if (prefix !== undefined) suffixes.add(key.slice(prefix.length));
  }
  return [...suffixes].map((suffix) => ({ suffix, wish: wishIn(call.query, suffix, world, (v) => call.since(v)) }));
};

const hasResources = ({ wish }: RequestGroup): boolean => Object.keys(wish.resources).length > 0;

/** Before 1.36 every group had to ask for resources. */
const checkOrphans = (groups: readonly RequestGroup[]): void => {
  const poor = groups.filter((g) => !hasResources(g));
  const traits = poor.filter((g) => g.wish.required.length > 0).map((g) => `required${g.suffix}`);
  if (traits.length > 0)
    throw badQuery(
      `All traits parameters must be associated with resources.  Found the following orphaned traits keys: ${traits.join(', ')}`,
    );
  const members = poor.filter((g) => g.wish.memberOf.length > 0 || g.wish.notMemberOf.length > 0);
  if (members.length > 0)
    throw badQuery(
      `All member_of parameters must be associated with resources. Found the following orphaned member_of keys: ${members.map((g) => `member_of${g.suffix}`).join(', ')}`,
    );
  if (poor.length > 0) throw badQuery('All request groups must specify resources.');
  if (groups.length === 0) throw badQuery('At least one request group (`resources` or `resources{$S}`) is required.');
};

const checkSubtrees = (groups: readonly RequestGroup[], subtrees: readonly (readonly string[])[]): void => {
  const poor = groups.filter((g) => !hasResources(g)).map((g) => g.suffix);
  const named = subtrees.flat();
  if (poor.length === groups.length)
    throw badQuery('There must be at least one resources or resources[$S] parameter.', 'placement.query.missing_value');
  const bad = poor.filter((s) => !named.includes(s));
  if (bad.length > 0)
    throw badQuery(
      `Resourceless suffixed group request should be specified in \`same_subtree\` query param: bad group(s) - ${quoted(bad)}.`,
      VALUE,
    );
  const suffixes = groups.map((g) => g.suffix);
  const missing = [...new Set(named)].filter((s) => !suffixes.includes(s));
  if (missing.length > 0)
    throw badQuery(
      `Real suffixes should be specified in \`same_subtree\`: ${quoted(missing)} not found in ${quoted(suffixes)}.`,
      VALUE,
    );
};

const checkForbidden = (groups: readonly RequestGroup[]): void => {
  const conflicts = groups.flatMap(({ suffix, wish }) =>
    wish.required
      .filter((any) => any.every((t) => wish.forbidden.includes(t)))
      .map((any) => `required${suffix}: (${[...any].sort().join(', ')})`),
  );
  if (conflicts.length > 0)
    throw badQuery(
      `Conflicting required and forbidden traits found in the following traits keys: ${conflicts.sort().join(', ')}`,
    );
};

const rootIn = (values: readonly string[] = []): CandidatesRequest['root'] => {
  if (values.length > 1)
    throw badQuery("Query parameter 'root_required' may be specified only once.", 'placement.query.duplicate_key');
  const root = traitsIn(values, { forbidden: true, any: false });
  const conflicts = root.required.flat().filter((t) => root.forbidden.includes(t));
  if (conflicts.length > 0)
    throw badQuery(`Conflicting required and forbidden traits found in root_required: ${conflicts.join(', ')}`, VALUE);
  return root;
};

const subtreesIn = (values: readonly string[] = []): string[][] =>
  values.map((value) => {
    const suffixes = value.split(',').map((s) => s.trim());
    if (suffixes.includes(''))
      throw badQuery('Empty string (unsuffixed group) can not be specified in `same_subtree` ', VALUE);
    return suffixes;
  });

/** @throws DomainError `invalid`, as Placement words it */
export const requestIn = (call: Call, world: World): CandidatesRequest => {
  const { limit, group_policy: policy, root_required: rootRequired, same_subtree: sameSubtree } = call.query;
  const root = rootIn(rootRequired);
  const subtrees = subtreesIn(sameSubtree);
  const groups = groupsIn(call, world);
  if (call.since('1.36')) checkSubtrees(groups, subtrees);
  else checkOrphans(groups);
  if (call.since('1.22')) checkForbidden(groups);
  if (policy === undefined && groups.filter((g) => g.suffix !== '').length > 1)
    throw badQuery('The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.');
  const unknown = [root, ...groups.map((g) => g.wish)].flatMap((wish) => unknownTraits(world, wish));
  if (unknown.length > 0) throw badQuery(`No such trait(s): ${[...new Set(unknown)].sort().join(', ')}.`);
  return {
    groups,
    root,
    subtrees,
    isolate: policy?.[0] === 'isolate',
    nested: call.since('1.29'),
    limit: Number(limit?.[0] ?? Number.MAX_SAFE_INTEGER),
  };
};
