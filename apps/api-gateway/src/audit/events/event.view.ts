import { type Actor, eventSetOf } from '@omnivisor/contracts';
import type { AuditedEvent } from '../index/audit-index.js';
import { outcomeOf } from '../index/outcome.js';
import type { EventView } from './event.schema.js';

/** Names of what tells on which host something is. */
const HOSTS = new Set([
  'host',
  'hostId',
  'hostName',
  'hostClass',
  'requestedHost',
  'node',
  'providerId',
  'bootId',
  'session',
  'sample',
  'excludeHosts',
  'networkHosts',
  'allocations',
]);

const withoutHosts = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(withoutHosts);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !HOSTS.has(name))
      .map(([name, inner]) => [name, withoutHosts(inner)]),
  );
};

const actorView = (actor: Actor, showHosts: boolean): EventView['actor'] =>
  actor.kind === 'user'
    ? {
        type: 'user',
        id: actor.userId,
        project_id: actor.projectId,
        roles: actor.roles,
        address: actor.address,
      }
    : {
        type: 'service',
        id: !showHosts && actor.service.startsWith('host-') ? null : actor.service,
        project_id: null,
        roles: [],
        address: null,
      };

/** @param showHosts false for whoever may not know on which hosts things are */
export const eventView = ({ event, project }: AuditedEvent, showHosts: boolean): EventView => {
  const kind = eventSetOf(event.type)?.stream;
  const namesHost = kind === 'provider' || kind === 'host';
  return {
    id: event.id,
    position: event.position,
    time: event.recordedAt,
    type: event.type,
    outcome: outcomeOf(event.type),
    stream: namesHost && !showHosts ? null : event.stream,
    project_id: project,
    actor: actorView(event.context.actor, showHosts),
    request_id: event.context.requestId,
    correlation_id: event.context.correlationId,
    causation_id: event.context.causationId,
    data: (showHosts ? event.data : withoutHosts(event.data)) as Record<string, unknown>,
  };
};
