import { Map as ImmutableMap } from 'immutable';
import type { Claim } from '../scheduling/provider/provider.js';
import type { ProviderView, WorldState } from './world.js';

/** Raise it with each change of what `World` folds, or of what is written here: a snapshot of another one is not read. */
export const WORLD_VERSION = '7';

/** Entries of one part. */
const CHUNK = 500;

type Lists = Omit<WorldState, 'position' | 'index' | 'registry'>;
type Flat = Record<string, readonly unknown[]>;

/** A world as parts of JSON: `[list, entries]`, the lists one after the other. */
export function* partsOf({ position, index, registry, ...lists }: WorldState): Iterable<string> {
  const flat: Flat = {
    ...lists,
    position: [position],
    'index.hosts': index.hosts,
    'index.classes': index.classes,
    'index.buckets': index.buckets,
    'registry.traits': [...registry.traits],
    'registry.classes': [...registry.classes],
    'registry.providers': [...registry.providers],
    'registry.consumers': [...registry.consumers],
    groups: lists.groups.map(([id, group]) => [id, { ...group, members: [...group.members] }]),
  };
  for (const [name, entries] of Object.entries(flat))
    for (let at = 0; at < entries.length; at += CHUNK) yield JSON.stringify([name, entries.slice(at, at + CHUNK)]);
}

type Stored<T, K extends keyof T, V> = Omit<T, K> & { readonly [P in K]: V };

/** What `partsOf` gave, as it was. */
export const stateOf = (parts: Iterable<string>): WorldState => {
  const lists = new Map<string, unknown[]>();
  for (const part of parts) {
    const [name, entries] = JSON.parse(part) as [string, unknown[]];
    const known = lists.get(name);
    if (known) for (const entry of entries) known.push(entry);
    else lists.set(name, entries);
  }
  const list = <T>(name: string) => (lists.get(name) ?? []) as T[];
  const same = <K extends keyof Lists>(name: K) => list(name) as unknown as Lists[K];
  const [position] = list<number>('position');
  if (position === undefined) throw new Error('a snapshot without position');
  return {
    position,
    index: { hosts: list('index.hosts'), classes: list('index.classes'), buckets: list('index.buckets') },
    registry: {
      traits: new Set(list('registry.traits')),
      classes: new Set(list('registry.classes')),
      providers: new Map(list('registry.providers')),
      consumers: new Map(list('registry.consumers')),
    },
    groups: list<[string, Stored<Lists['groups'][number][1], 'members', string[]>]>('groups').map(([id, group]) => [
      id,
      { ...group, members: new Set(group.members) },
    ]),
    providers: list<[string, Stored<ProviderView, 'claims', Record<string, Claim>>]>('providers').map(
      ([id, provider]) => [id, { ...provider, claims: ImmutableMap(Object.entries(provider.claims)) }],
    ),
    migrations: same('migrations'),
    hosts: same('hosts'),
    readers: same('readers'),
    retiredKeys: same('retiredKeys'),
    registeredAt: same('registeredAt'),
    claims: same('claims'),
    releases: same('releases'),
    servers: same('servers'),
    hostOfProvider: same('hostOfProvider'),
    newest: same('newest'),
  };
};
