import { type Actor, eventSetOf, type RecordedEvent, splitPersonal } from '@omnivisor/contracts';
import type { IndexEntry } from '@omnivisor/eventsourcing/event-index';
import { namedProject, type StreamOwners } from './stream-owners.js';

/** Entries are made by this rule: another name has the index built again from the log. */
export const INDEX_RULE = 'audit 2';

/** Kinds of stream that belong to the project their first event names. */
const OWNED = new Set([
  'server',
  'servergroup',
  'console',
  'quota',
  'placement',
  'provider',
  'image',
  'network',
  'subnet',
  'port',
  'security-group',
  'network-quota',
]);
const MAX_RESOURCES = 64;
const MAX_LENGTH = 255;
const ID = /^(id|host|memberId|owner)$|Ids?$/;

export const actorId = (actor: Actor): string => (actor.kind === 'user' ? actor.userId : actor.service);

/**
 * Whose matter an event is: the project of what changed, not that of who changed it. Null for the cloud's own.
 * @param owners look up what an event about a part of something does not say itself
 */
export const projectOf = async (event: RecordedEvent, owners: StreamOwners): Promise<string | null> => {
  const kind = eventSetOf(event.type)?.stream;
  const data = event.data as { serverId?: unknown; id?: string; scope?: { kind: string; id: string } };
  if (kind === 'project') return data.id ?? null;
  if (kind === 'assignment') return data.scope?.kind === 'project' ? data.scope.id : null;
  if (kind === 'refusal') {
    const { actor } = event.context;
    return actor.kind === 'user' ? actor.projectId : event.stream.slice('refusal-'.length, -'-yyyy-mm-dd'.length);
  }
  const named = namedProject(event.data);
  if (named !== undefined) {
    if (event.revision === 0) owners.learn(event.stream, named);
    return named;
  }
  if (kind === undefined || !OWNED.has(kind)) return null;
  if (typeof data.serverId === 'string') return owners.of(`server-${data.serverId}`);
  return kind === 'provider' ? null : owners.of(event.stream);
};

/** Ids that an event speaks of: its stream's key, its requests, and what its data names as an id; nothing personal. */
export const resourcesOf = (event: RecordedEvent): string[] => {
  const found = new Set<string>();
  const add = (value: unknown) => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: no id has them
    if (typeof value !== 'string' || value === '' || value.length > MAX_LENGTH || /[\u0000-\u001f]/.test(value)) return;
    if (found.size < MAX_RESOURCES) found.add(value);
  };
  const kind = eventSetOf(event.type)?.stream;
  if (kind !== undefined && kind !== 'refusal') add(event.stream.slice(kind.length + 1));
  add(event.context.requestId);
  add(event.context.correlationId);
  const walk = (value: unknown, key: string): void => {
    if (Array.isArray(value)) for (const item of value) walk(item, key);
    else if (value !== null && typeof value === 'object')
      for (const [name, inner] of Object.entries(value)) walk(inner, key === 'targets' ? 'targetId' : name);
    // `server:<id>` is how quota names its owners.
    else if (ID.test(key)) add(typeof value === 'string' ? value.replace(/^(server|port):/, '') : value);
  };
  walk(splitPersonal(event.type, event.data)?.rest ?? event.data, 'data');
  return [...found];
};

export const indexEntry = async (event: RecordedEvent, owners: StreamOwners): Promise<IndexEntry> => ({
  position: event.position,
  type: event.type,
  project: await projectOf(event, owners),
  actor: actorId(event.context.actor),
  resources: resourcesOf(event),
});
