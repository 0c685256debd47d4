import { readFileSync } from 'node:fs';
import { Controller } from '@nestjs/common';
import { notFound } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { pageHeaders } from '../../core/page-headers.js';
import { PATIENCE, scopeOf } from '../events/scope.js';
import { AuditIndex } from '../index/audit-index.js';
import { outcomeOf } from '../index/outcome.js';
import type { CausalNode } from '../why/causal-tree.js';
import { why } from '../why/why.js';
import type { Timeline } from './timeline.schema.js';

/** Beside `src` and `dist`, as far from here as from there. */
const ASSETS = new URL('../../../assets/timeline/', import.meta.url);

const FILES: Readonly<Record<string, string>> = {
  'index.html': 'text/html; charset=utf-8',
  'timeline.css': 'text/css; charset=utf-8',
  'timeline.js': 'text/javascript; charset=utf-8',
};

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const flat = (nodes: readonly CausalNode[], requestId: string, causeId: string | null): Timeline['events'] =>
  nodes.flatMap(({ eventId, at, effects, position, type, service, who, what, reasons, call }) => [
    {
      id: eventId,
      position,
      time: at,
      type,
      outcome: outcomeOf(type),
      service,
      who,
      what,
      request_id: requestId,
      cause_id: causeId,
      reasons: [...reasons],
      call,
    },
    ...flat(effects, requestId, eventId),
  ]);

/** The timeline of one server, and a page that shows it. */
@Controller()
export class TimelineController {
  private readonly files = new Map(Object.keys(FILES).map((name) => [name, readFileSync(new URL(name, ASSETS))]));

  constructor(
    private readonly core: GatewayCore,
    private readonly index: AuditIndex,
  ) {}

  @Operation({
    service: 'audit',
    method: 'GET',
    path: '/v1/servers/:id/timeline',
    policy: 'audit:events:list',
    live: true,
    summary: 'All that happened to a server, over all services, with what caused it.',
  })
  async timeline(call: Call): Promise<Timeline> {
    const { project, showHosts } = scopeOf(call);
    const { id = '' } = call.params;
    const missing = notFound(`No server ${id.slice(0, 64)}.`);
    if (!UUID.test(id) || (project !== undefined && (await this.index.ownerOf(id)) !== project)) throw missing;
    const { requests, more } = await why(this.core, this.index, id, { showHosts, project, patience: PATIENCE });
    const events = requests.flatMap(({ effects, requestId }) => flat(effects, requestId, null));
    events.sort((a, b) => a.position - b.position);
    return { server_id: id, events, more };
  }

  @Operation({ service: 'audit', method: 'GET', path: '/ui', policy: 'open' })
  entry(call: Call) {
    return new Reply('', { status: 302, headers: { location: `${call.publicUrl}/ui/index.html` } });
  }

  @Operation({ service: 'audit', method: 'GET', path: '/ui/:file', policy: 'open' })
  file(call: Call) {
    const { file = '' } = call.params;
    const content = this.files.get(file);
    if (!content) throw notFound('There is no such page.');
    return new Reply(content, { headers: { ...pageHeaders(), 'content-type': FILES[file]! } });
  }
}
