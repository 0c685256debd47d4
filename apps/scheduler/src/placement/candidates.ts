import type { ResourceAmounts } from '@omnivisor/contracts';
import { capacityOf } from '../scheduling/provider/provider.js';
import type { PlacementProvider } from './providers.js';
import { grants, hasRoom, hasTraits, isMember, type ProviderWish } from './query.js';

/** Resources that have to be found together. The group without a suffix may be spread over a tree. */
export interface RequestGroup {
  readonly suffix: string;
  readonly wish: ProviderWish;
}

export interface CandidatesRequest {
  readonly groups: readonly RequestGroup[];
  /** Each group with a suffix by a provider of its own. */
  readonly isolate: boolean;
  /** Traits of the tree's root. */
  readonly root: Pick<ProviderWish, 'required' | 'forbidden'>;
  /** Sets of suffixes whose providers have to lie below one of them. */
  readonly subtrees: readonly (readonly string[])[];
  /** False: no more than one provider of a tree. */
  readonly nested: boolean;
  readonly limit: number;
}

/** One way to grant a request: amounts by provider, and which providers grant which group. */
export interface Candidate {
  readonly resources: ReadonlyMap<PlacementProvider, ResourceAmounts>;
  readonly mappings: Readonly<Record<string, readonly string[]>>;
}

const SHARES = 'MISC_SHARES_VIA_AGGREGATE';
/** Combinations of one tree that are looked at; a request with more of them gets what was found. */
const MOST_TRIED = 20_000;

interface Choice {
  readonly suffix: string;
  readonly parts: readonly (readonly [PlacementProvider, ResourceAmounts])[];
}

/** A tree and what its members may use of providers that share with them. */
interface Tree {
  readonly root: PlacementProvider;
  readonly members: readonly PlacementProvider[];
  readonly reachable: readonly PlacementProvider[];
}

const treesOf = (providers: ReadonlyMap<string, PlacementProvider>): Tree[] => {
  const members = new Map<string, PlacementProvider[]>();
  for (const p of providers.values()) {
    const tree = members.get(p.rootId);
    if (tree) tree.push(p);
    else members.set(p.rootId, [p]);
  }
  const sharing = [...providers.values()].filter((p) => p.traits.includes(SHARES));
  return [...members].flatMap(([rootId, all]) => {
    const root = providers.get(rootId);
    if (!root) return [];
    if (sharing.length === 0) return [{ root, members: all, reachable: all }];
    const aggregates = new Set(all.flatMap((p) => p.aggregates));
    const shared = sharing.filter((s) => s.rootId !== rootId && s.aggregates.some((a) => aggregates.has(a)));
    return [{ root, members: all, reachable: [...all, ...shared] }];
  });
};

function* product<T>(lists: readonly (readonly T[])[], chosen: readonly T[] = []): Iterable<readonly T[]> {
  const [first, ...rest] = lists;
  if (!first) yield chosen;
  else for (const one of first) yield* product(rest, [...chosen, one]);
}

const inTreeOf = (providers: ReadonlyMap<string, PlacementProvider>, wish: ProviderWish) => {
  if (wish.inTree === null) return () => true;
  const rootId = providers.get(wish.inTree)?.rootId;
  return (p: PlacementProvider) => p.rootId === rootId;
};

/** The ways to grant a group by one provider. */
const byOne = ({ suffix, wish }: RequestGroup, tree: Tree, within: (p: PlacementProvider) => boolean): Choice[] =>
  tree.reachable
    .filter((p) => within(p) && grants(p, wish))
    .map((p) => ({ suffix, parts: [[p, wish.resources] as const] }));

/** The ways to grant a group by any providers of a tree: traits of all of them count, aggregates of the root too. */
const bySeveral = (
  { suffix, wish }: RequestGroup,
  tree: Tree,
  within: (p: PlacementProvider) => boolean,
  providers: ReadonlyMap<string, PlacementProvider>,
): Choice[] => {
  const suits = (p: PlacementProvider) => {
    const root = providers.get(p.rootId);
    return within(p) && isMember([...p.aggregates, ...(root?.aggregates ?? [])], wish);
  };
  const options = Object.entries(wish.resources).map(([name, amount]) =>
    tree.reachable
      .filter((p) => suits(p) && hasRoom(p, { [name]: amount }))
      .map((p) => [p, { [name]: amount }] as const),
  );
  const found: Choice[] = [];
  let tried = 0;
  for (const parts of product(options)) {
    if (++tried > MOST_TRIED) break;
    if (hasTraits([...new Set(parts.flatMap(([p]) => p.traits))], wish)) found.push({ suffix, parts });
  }
  return found;
};

const isAncestorOf = (above: string, below: PlacementProvider, providers: ReadonlyMap<string, PlacementProvider>) => {
  for (let at: PlacementProvider | undefined = below; at; at = at.parentId ? providers.get(at.parentId) : undefined)
    if (at.id === above) return true;
  return false;
};

const combine = (choices: readonly Choice[]): Candidate => {
  const resources = new Map<PlacementProvider, Record<string, number>>();
  const mappings: Record<string, string[]> = {};
  for (const { suffix, parts } of choices) {
    mappings[suffix] = [...new Set(parts.map(([p]) => p.id))];
    for (const [provider, amounts] of parts) {
      if (Object.keys(amounts).length === 0) continue;
      const sum = resources.get(provider) ?? {};
      for (const [name, amount] of Object.entries(amounts)) sum[name] = (sum[name] ?? 0) + amount;
      resources.set(provider, sum);
    }
  }
  return { resources, mappings };
};

/** What several groups take together of one provider has to fit too. */
const fits = ({ resources }: Candidate): boolean =>
  [...resources].every(([provider, amounts]) =>
    Object.entries(amounts).every(([name, amount]) => {
      const inventory = provider.inventories[name]!;
      return amount <= capacityOf(inventory) - (provider.used[name] ?? 0) && amount <= inventory.maxUnit;
    }),
  );

/** A provider that has no other in reach grants a request all by itself, or not at all. */
const byItself = (
  provider: PlacementProvider,
  { groups, isolate }: CandidatesRequest,
  within: readonly ((p: PlacementProvider) => boolean)[],
): Candidate | null => {
  if (isolate && groups.filter((g) => g.suffix !== '').length > 1) return null;
  const total: Record<string, number> = {};
  const mappings: Record<string, readonly string[]> = {};
  const itself = [provider.id];
  for (const [i, { suffix, wish }] of groups.entries()) {
    const isUnused = suffix === '' && Object.keys(wish.resources).length === 0;
    if (isUnused ? !hasTraits([], wish) : !(within[i]!(provider) && grants(provider, wish))) return null;
    mappings[suffix] = isUnused ? [] : itself;
    for (const name in wish.resources) total[name] = (total[name] ?? 0) + wish.resources[name]!;
  }
  const resources = new Map(Object.keys(total).length > 0 ? [[provider, total]] : []);
  const candidate = { resources, mappings };
  return fits(candidate) ? candidate : null;
};

const keyOf = ({ resources, mappings }: Candidate): string =>
  JSON.stringify([
    [...resources].map(([p, amounts]) => [p.id, Object.entries(amounts).sort()]).sort(),
    Object.entries(mappings)
      .map(([suffix, ids]) => [suffix, [...ids].sort()])
      .sort(),
  ]);

/** Every way to grant the request, tree by tree. Source: Placement's allocation candidates, 1.10 to 1.39. */
export const findCandidates = (
  providers: ReadonlyMap<string, PlacementProvider>,
  request: CandidatesRequest,
): Candidate[] => {
  const { groups, isolate, root, subtrees, nested, limit } = request;
  const found = new Map<string, Candidate>();
  const inTree = groups.map((group) => inTreeOf(providers, group.wish));
  for (const tree of treesOf(providers)) {
    if (!hasTraits(tree.root.traits, root)) continue;
    if (tree.reachable.length === 1 && !tree.root.traits.includes(SHARES)) {
      const candidate = byItself(tree.root, request, inTree);
      if (candidate) found.set(tree.root.id, candidate);
      if (found.size >= limit) break;
      continue;
    }
    const options = groups.map((group, i) =>
      group.suffix === '' ? bySeveral(group, tree, inTree[i]!, providers) : byOne(group, tree, inTree[i]!),
    );
    let tried = 0;
    for (const choices of product(options)) {
      if (++tried > MOST_TRIED) break;
      const candidate = combine(choices);
      const alone = choices.filter((c) => c.suffix !== '').flatMap((c) => c.parts.map(([p]) => p.id));
      if (isolate && new Set(alone).size < alone.length) continue;
      if (!fits(candidate) || !subtrees.every((set) => areTogether(candidate, set, providers))) continue;
      const roots = [...candidate.resources.keys()].map((p) => p.rootId);
      if (!nested && new Set(roots).size < roots.length) continue;
      found.set(keyOf(candidate), candidate);
      if (found.size >= limit) return [...found.values()];
    }
  }
  return [...found.values()];
};

const areTogether = (
  { mappings }: Candidate,
  suffixes: readonly string[],
  providers: ReadonlyMap<string, PlacementProvider>,
): boolean => {
  const ids = [...new Set(suffixes.flatMap((s) => mappings[s] ?? []))];
  return ids.some((above) => ids.every((id) => isAncestorOf(above, providers.get(id)!, providers)));
};
