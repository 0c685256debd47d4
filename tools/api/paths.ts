import { createHash } from 'node:crypto';
import { allOperations, type OperationSpec, VersionTable } from '@omnivisor/openstack';
import type { z } from 'zod';
import '../simulate/api-cloud.js';
import type { Belongings } from './people.js';

/** An operation of the API at one path: `:kind(a|b)` is one for each kind. */
export interface Route {
  readonly spec: OperationSpec;
  readonly path: string;
  /** The microversion to ask for; the newest that serves it. */
  readonly version: string | undefined;
}

const NEWEST: Readonly<Record<string, string>> = { compute: '2.104', placement: '1.39' };

/** Every operation of every service whose answer has an end. */
export const everyRoute = (): Route[] =>
  allOperations()
    .filter(({ controller, spec }) => !controller.name.endsWith('Discovery') && !spec.endless)
    .flatMap(({ spec }) => {
      const choice = /:\w+\(([\w|-]+)\)/.exec(spec.path);
      const kinds = choice ? choice[1]!.split('|') : [''];
      const version = spec.versions?.[1] ?? NEWEST[spec.service];
      return kinds.map((kind) => ({ spec, version, path: choice ? spec.path.replace(choice[0], kind) : spec.path }));
    });

export const nameOf = ({ spec, path }: Route): string =>
  `${spec.service} ${spec.method} ${path}${spec.versions ? ` ${spec.versions.join('-')}` : ''}`;

type Of = (who: Belongings) => string;
/** Chosen by the caller: nothing that exists by itself. */
const word: Of = (who) => who.word;

/** What belongs to somebody, by service and the part of a path before its name. */
const objects: Readonly<Record<string, Of>> = {
  'compute flavors': (who) => who.flavor,
  'compute os-extra_specs': word,
  'compute images': (who) => who.image,
  'compute metadata': word,
  'compute os-keypairs': (who) => who.keypair,
  'compute os-quota-sets': (who) => who.projectId,
  'compute os-simple-tenant-usage': (who) => who.projectId,
  'compute servers': (who) => who.server,
  'compute tags': word,
  'compute ips': (who) => `${who.word}-network`,
  'compute migrations': () => '1',
  'compute os-interface': (who) => who.serverPort,
  'compute os-instance-actions': (who) => who.request,
  'compute os-security-groups': (who) => who.group,
  'compute os-security-group-rules': (who) => who.rule,
  'compute os-networks': (who) => who.network,
  'compute os-tenant-networks': (who) => who.network,
  'compute os-server-groups': (who) => who.serverGroup,
  'compute os-console-auth-tokens': (who) => who.console,
  'identity users': (who) => who.userId,
  'identity projects': (who) => who.projectId,
  'identity application_credentials': (who) => who.credential,
  'identity credentials': (who) => who.stored,
  'identity OS-EC2': (who) => who.key,
  'identity access_rules': (who) => who.accessRule,
  'identity limits': (who) => who.limit,
  'identity tags': word,
  'network networks': (who) => who.network,
  'network network-ip-availabilities': (who) => who.network,
  'network subnets': (who) => who.subnet,
  'network ports': (who) => who.port,
  'network security-groups': (who) => who.group,
  'network security-group-rules': (who) => who.rule,
  'network quotas': (who) => who.projectId,
  'network tags': word,
  'image images': (who) => who.image,
  'image tags': word,
  'image members': (who) => who.projectId,
  'image os-omnivisor-export': () => 'raw',
  'audit servers': (who) => who.server,
  'placement allocations': (who) => who.server,
  'placement resource_providers': (who) => who.provider,
  'placement inventories': () => 'VCPU',
};

/** What belongs to nobody: it is the cloud's. */
const common = new Set([
  ...['extensions', 'os-hypervisors', 'os-services'].map((s) => `compute ${s}`),
  ...['domains', 'roles', 'groups', 'regions', 'services', 'endpoints', 'implies', 'registered_limits'].map(
    (s) => `identity ${s}`,
  ),
  ...['extensions', 'agents', 'availability_zones'].map((s) => `network ${s}`),
  'image tasks',
  ...['events', 'ui'].map((s) => `audit ${s}`),
  ...['traits', 'resource_classes'].map((s) => `placement ${s}`),
]);

interface Name {
  /** Undefined for what is the cloud's. */
  readonly of: Of | undefined;
  readonly isWord: boolean;
}

/** Whose the names in a path are, in order. */
export const namesIn = ({ spec, path }: Route): Name[] => {
  const parts = path.split('/');
  return parts.flatMap((part, i) => {
    if (!part.startsWith(':')) return [];
    const kind = `${spec.service} ${parts[i - 1]}`;
    const of = objects[kind];
    if (!of && !common.has(kind)) throw new Error(`whose is ${part} in ${path}? Add '${kind}' to tools/api/paths.ts`);
    return [{ of, isWord: of === word }];
  });
};

/** The names of a path, all of one's own. */
export const ownNames = (route: Route, who: Belongings): string[] =>
  namesIn(route).map((name) => name.of?.(who) ?? 'default');

const byKey: readonly (readonly [RegExp, Of])[] = [
  [/project|tenant|owner|member/, (who) => who.projectId],
  [/user/, (who) => who.userId],
  [/network/, (who) => who.network],
  [/subnet/, (who) => who.subnet],
  [/port/, (who) => who.port],
  [/group/, (who) => who.group],
  [/server|device|instance|consumer/, (who) => who.server],
  [/ip|address/, (who) => who.serverAddress],
  [/image/, (who) => who.image],
  [/flavor/, (who) => who.flavor],
  [/key_name/, (who) => who.keypair],
];

/** What to look for by a query's key among things of the kind that a path lists. */
export const wantedBy = ({ spec, path }: Route, key: string, who: Belongings): string => {
  const collection = path
    .split('/')
    .filter((part) => part !== 'detail')
    .at(-1)!;
  if (/^(?:id|uuid|marker)$/.test(key)) return objects[`${spec.service} ${collection}`]?.(who) ?? who.server;
  if (/^(?:name|display_name)$/.test(key))
    return `${who.word}-${collection.replace(/^os-|s$/g, '').replace(/^security-/, '')}`;
  return byKey.find(([pattern]) => pattern.test(key))?.[1](who) ?? who.word;
};

/** The path with these names in it, in order. */
export const filled = (route: Route, names: readonly string[]): string => {
  let at = 0;
  return route.path.replace(/:\w+/g, () => encodeURIComponent(names[at++]!));
};

/** The same belongings under names that nothing has. */
export const nobodys = (who: Belongings): Belongings =>
  Object.fromEntries(Object.entries(who).map(([key, value]) => [key, nobodysName(value, who.word)])) as never;

const nobodysName = (name: string, word: string): string => {
  if (/^\d+\.\d+\.\d+\.\d+$/.test(name)) return name.replace(/\d+$/, '250');
  if (name.includes(word)) return name.replaceAll(word, 'nobody');
  const digest = createHash('sha512').update(name).digest('hex').repeat(8);
  let at = 0;
  // The form of an id stays: its version and variant too.
  return name.replace(/[0-9a-f]/g, (digit, offset: number) =>
    name.length === 36 && (offset === 14 || offset === 19) ? digit : digest[at++]!,
  );
};

/** Keys that the query of a route may have, by its schema and by custom. */
export const queryKeys = ({ spec, version }: Route): string[] => {
  const usual = ['limit', 'marker', 'sort_key', 'sort_dir', 'name', 'status', 'fields', 'x'];
  if (!spec.query) return usual;
  const [major = 1, minor = 0] = (version ?? '1.0').split('.').map(Number);
  const table = new VersionTable(
    Array.isArray(spec.query) ? spec.query : [['1.0', spec.query]],
  ) as VersionTable<z.ZodType>;
  const { shape } = (table.at({ major, minor }) ?? {}) as { shape?: object };
  return [...new Set([...Object.keys(shape ?? {}), ...usual])];
};
