import { Controller, Inject } from '@nestjs/common';
import { invalid, notFound } from '@omnivisor/contracts';
import type { IndexQuery } from '@omnivisor/eventsourcing/event-index';
import { type Call, nextLinks, Operation, Reply } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { IdentityDesk } from '../../identity/desk.js';
import { AuditIndex } from '../index/audit-index.js';
import { momentRange } from '../index/moment-range.js';
import { typesWith } from '../index/outcome.js';
import { FollowQuery, ListQuery } from './event.schema.js';
import { eventView } from './event.view.js';
import { EventFollower } from './event-follower.js';
import { type AuditScope, PATIENCE, projectWanted, scopeOf } from './scope.js';

const filterOf = (
  query: FollowQuery,
  scope: AuditScope,
): Pick<IndexQuery, 'project' | 'actor' | 'resource' | 'types'> => {
  const project = projectWanted(scope, query.project_id);
  const byOutcome = query.outcome && typesWith(query.outcome);
  const types = query.type === undefined ? byOutcome : (byOutcome?.filter((t) => t === query.type) ?? [query.type]);
  return {
    ...(project === undefined ? {} : { project }),
    ...(query.actor_id === undefined ? {} : { actor: query.actor_id }),
    ...(query.resource_id === undefined ? {} : { resource: query.resource_id }),
    ...(types === undefined ? {} : { types }),
  };
};

/** The log for auditors: all of it for those of the cloud, a project's for those of a project. It changes nothing. */
@Controller()
export class EventsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly index: AuditIndex,
    private readonly follower: EventFollower,
    @Inject(IdentityDesk) private readonly identity: Pick<IdentityDesk, 'tokens'>,
  ) {}

  @Operation({
    service: 'audit',
    method: 'GET',
    path: '/v1/events',
    policy: 'audit:events:list',
    query: ListQuery,
    live: true,
    summary: 'Events that fit a filter, a page at a time.',
  })
  async list(call: Call<unknown, ListQuery>) {
    const { query } = call;
    const scope = scopeOf(call as Call);
    const filter = filterOf(query, scope);
    const range = await momentRange(this.core, query.from, query.to);
    const order = query.sort === 'asc' ? 'oldest first' : 'newest first';
    const { marker, limit = 100 } = query;
    const page = marker === undefined ? {} : order === 'oldest first' ? { after: marker } : { until: marker - 1 };
    const bounds = {
      after: Math.max(range.after, page.after ?? 0),
      until: Math.min(range.until, page.until ?? range.until),
    };
    const found = await this.index.find({ ...filter, ...bounds, order, limit: limit + 1 }, PATIENCE);
    const shown = found.slice(0, limit);
    const next = found.length > limit ? String(shown.at(-1)!.event.position) : undefined;
    return { events: shown.map((e) => eventView(e, scope.showHosts)), ...nextLinks(call as Call, 'events', next) };
  }

  @Operation({
    service: 'audit',
    method: 'GET',
    path: '/v1/events/stream',
    policy: 'audit:events:list',
    query: FollowQuery,
    live: true,
    endless: true,
    summary: 'The same events as they come: server-sent events; `Last-Event-ID` names the position to go on from.',
  })
  async follow(call: Call<unknown, FollowQuery>) {
    const scope = scopeOf(call as Call);
    const filter = filterOf(call.query, scope);
    const last = call.headers['last-event-id'];
    if (last !== undefined && !/^\d{1,15}$/.test(last)) throw invalid('Last-Event-ID is no position of the log.');
    const secret = call.headers['x-auth-token']!;
    const stream = await this.follower.follow({
      filter,
      after: last === undefined ? undefined : Number(last),
      view: (audited) => eventView(audited, scope.showHosts),
      allowed: async () => (await this.identity.tokens.validate(secret)) !== null,
      signal: call.signal,
    });
    const headers = {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      // A connection that is kept would hold up the end of the service.
      connection: 'close',
    };
    return new Reply(stream, { headers });
  }

  @Operation({
    service: 'audit',
    method: 'GET',
    path: '/v1/events/:position',
    policy: 'audit:events:list',
    live: true,
    summary: 'One event by its position.',
  })
  async show(call: Call) {
    const scope = scopeOf(call);
    const missing = notFound('There is no such event.');
    const { position = '' } = call.params;
    if (!/^[1-9]\d{0,14}$/.test(position)) throw missing;
    const [event] = await this.core.store.readAll(Number(position) - 1, 1);
    if (event?.position !== Number(position)) throw missing;
    const audited = await this.index.audited(event);
    if (scope.project !== undefined && audited.project !== scope.project) throw missing;
    return { event: eventView(audited, scope.showHosts) };
  }
}
