import { Controller } from '@nestjs/common';
import { invalid, notFound } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf } from '../common/access.js';
import { isoNaive, nextLink, pageOf, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { timeOf } from '../common/times.js';
import { queryByVersion, View } from '../common/versions.js';
import { hostTable } from '../host/host.projection.js';
import { migrationTable } from '../migration/migration.projection.js';
import type { ServerRow } from '../server/view/server.projection.js';
import { hiddenHost } from '../server/view/server.view.js';
import {
  type ServerActionRow,
  type ServerActionStep,
  serverActionKey,
  serverActionTable,
  settledAction,
} from './instance-action.projection.js';
import { serverEndingsTable } from './server-endings.projection.js';

const compute = 'compute' as const;

const actionView = new View<ServerActionRow>([
  ['action', '2.1', null, (r) => r.action],
  ['instance_uuid', '2.1', null, (r) => r.serverId],
  ['request_id', '2.1', null, (r) => r.requestId],
  ['user_id', '2.1', null, (r) => r.userId],
  ['project_id', '2.1', null, (r) => r.projectId],
  ['start_time', '2.1', null, (r) => isoNaive(r.startTime)],
  ['message', '2.1', null, (r) => r.message],
  ['updated_at', '2.58', null, (r) => isoNaive(r.updatedAt)],
]);

interface StepContext {
  readonly projectId: string;
  readonly showHost: boolean;
  readonly showTraceback: boolean;
  /** Name of the host that did it; null of what no host does, and where the log does not tell. */
  readonly hostOf: (step: ServerActionStep) => string | null;
}

const stepView = new View<ServerActionStep, StepContext>([
  ['event', '2.1', null, (s) => s.event],
  ['start_time', '2.1', null, (s) => isoNaive(s.startTime)],
  ['finish_time', '2.1', null, (s) => (s.finishTime ? isoNaive(s.finishTime) : null)],
  ['result', '2.1', null, (s) => s.result],
  // Errors of ours stay in our own log.
  ['traceback', '2.1', null, (_, c) => (c.showTraceback ? null : undefined)],
  ['hostId', '2.62', null, (s, c) => hiddenHost(c.projectId, c.hostOf(s))],
  ['host', '2.62', null, (s, c) => (c.showHost ? (c.hostOf(s) ?? '') : undefined)],
  ['details', '2.84', null, (s) => s.details],
]);

const list = queryByVersion(
  {
    limit: [['2.58', t.limit]],
    marker: [['2.58', t.anyText]],
    'changes-since': [['2.58', t.dateTime]],
    'changes-before': [['2.66', t.dateTime]],
  },
  '2.58',
);

/** What was asked of a server, also after it is gone. */
@Controller()
export class InstanceActionsController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/:id/os-instance-actions',
    policy: 'os_compute_api:os-instance-actions:list',
    query: list,
  })
  async list(call: Call) {
    const rows = await this.core.fresh();
    const server = await serverOf(call, rows, call.params.id!, 'os_compute_api:os-instance-actions:list', {
      deleted: call.since('2.21'),
    });
    const query = call.query as Query;
    const since = call.since('2.58') ? timeOf(query, 'changes-since') : undefined;
    const before = call.since('2.66') ? timeOf(query, 'changes-before') : undefined;
    if (since && before && before < since)
      throw invalid('The value of changes-since must be less than or equal to changes-before.');
    const settled = await this.settledOf(rows, server);
    const found = (
      await rows.find(serverActionTable, { where: { serverId: server.id }, orderBy: [['startTime', 'desc']] })
    )
      .map(settled)
      .filter((a) => (!since || a.updatedAt >= since) && (!before || a.updatedAt <= before));
    const page = call.since('2.58') ? pageOf(found, query, (a) => a.requestId) : found;
    return {
      instanceActions: page.map((a) => actionView.render(call.version, a, undefined)),
      ...(call.since('2.58') ? nextLink(call, '', page, page.at(-1)?.requestId, 'links') : {}),
    };
  }

  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/servers/:id/os-instance-actions/:request',
    policy: 'os_compute_api:os-instance-actions:show',
  })
  async show(call: Call) {
    const rows = await this.core.fresh();
    const server = await serverOf(call, rows, call.params.id!, 'os_compute_api:os-instance-actions:show', {
      deleted: call.since('2.21'),
    });
    const request = call.params.request!;
    const found = await rows.get(serverActionTable, serverActionKey(server.id, request));
    if (!found) throw notFound(`Action ${request.slice(0, 255)} not found`);
    const action = (await this.settledOf(rows, server))(found);
    const details = call.can('os_compute_api:os-instance-actions:events:details');
    const traceback = call.can('os_compute_api:os-instance-actions:events');
    const context: StepContext = {
      projectId: server.projectId,
      showHost: details,
      showTraceback: traceback,
      hostOf: await this.hostsOf(rows, server, action),
    };
    const { updated_at, ...shown } = actionView.render(call.version, action, undefined);
    return {
      instanceAction: {
        ...shown,
        ...(call.since('2.58') ? { updated_at } : {}),
        ...(traceback || call.since('2.51')
          ? { events: action.steps.map((s) => stepView.render(call.version, s, context)) }
          : {}),
      },
    };
  }

  private async settledOf(rows: RowReader, { id, updatedAt }: ServerRow) {
    const endings = (await rows.get(serverEndingsTable, id))?.endings ?? [];
    return (action: ServerActionRow) => settledAction(action, endings, updatedAt);
  }

  private async hostsOf(rows: RowReader, server: ServerRow, action: ServerActionRow): Promise<StepContext['hostOf']> {
    const ids = new Set(action.steps.flatMap((s) => (s.host === null && s.hostId !== null ? [s.hostId] : [])));
    const names = new Map<string, string>();
    for (const id of ids) {
      const host = await rows.get(hostTable, id);
      if (host) names.set(id, host.name);
    }
    const moves = await rows.find(migrationTable, { where: { serverId: server.id } });
    const stayed = moves.every((m) => m.targetHost === null || m.targetHost === m.sourceHost);
    // Steps that are open, or have failed, and deletions name no host: it is the server's, unless it moved since.
    const atServer = (step: ServerActionStep) => stayed || step.finishTime === null || action.action === 'delete';
    return (step) =>
      step.event.startsWith('compute_')
        ? (step.host ?? names.get(step.hostId ?? '') ?? (atServer(step) ? server.host : null))
        : step.host;
  }
}
