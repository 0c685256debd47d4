import { Controller } from '@nestjs/common';
import { invalid } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { last, nextLink, pageOf, type Query } from '../common/paging.js';
import * as t from '../common/parameters.js';
import { timeOf } from '../common/times.js';
import { type FieldHistory, queryByVersion } from '../common/versions.js';
import { type MigrationRow, migrationTable } from './migration.projection.js';
import { migrationView, statusOf } from './migration.view.js';

const any: FieldHistory = [['2.1', t.anyText]];
const rule = 'os_compute_api:os-migrations:index';

/** What a query may ask of a migration; each has one value. */
const filters: Readonly<Record<string, (row: MigrationRow, wanted: string) => boolean>> = {
  host: (r, wanted) => r.sourceHost === wanted || r.targetHost === wanted,
  source_compute: (r, wanted) => r.sourceHost === wanted,
  instance_uuid: (r, wanted) => r.serverId === wanted,
  status: (r, wanted) => statusOf(r) === wanted,
  migration_type: (r, wanted) => r.kind === wanted,
  user_id: (r, wanted) => r.userId === wanted,
  project_id: (r, wanted) => r.projectId === wanted,
};

/** Changes of host and size of all servers, the newest first. */
@Controller()
export class MigrationsController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({
    service: 'compute',
    method: 'GET',
    path: '/v2.1/os-migrations',
    policy: rule,
    query: queryByVersion(
      {
        hidden: any,
        host: any,
        instance_uuid: any,
        source_compute: any,
        status: any,
        migration_type: any,
        limit: [['2.59', t.limit]],
        marker: [['2.59', t.anyText]],
        'changes-since': [['2.59', t.dateTime]],
        'changes-before': [['2.66', t.dateTime]],
        user_id: [['2.80', t.anyText]],
        project_id: [['2.80', t.anyText]],
      },
      '2.59',
    ),
  })
  async list(call: Call) {
    const query = call.query as Query;
    const since = call.since('2.59') ? timeOf(query, 'changes-since') : undefined;
    const before = call.since('2.66') ? timeOf(query, 'changes-before') : undefined;
    if (since && before && before < since)
      throw invalid('The value of changes-since must be less than or equal to changes-before.');
    const all = call.can(`${rule}:all_projects`);
    const tests = Object.entries(filters).flatMap(([key, test]) => {
      const known = call.since('2.80') || (key !== 'user_id' && key !== 'project_id');
      const wanted = known ? last(query, key) : undefined;
      return wanted === undefined ? [] : [(row: MigrationRow) => test(row, wanted)];
    });
    const rows = await this.core.fresh();
    const found = (await rows.find(migrationTable, { orderBy: [['number', 'desc']] })).filter(
      (row) =>
        (all || row.projectId === call.token.projectId) &&
        (!since || row.updatedAt >= since) &&
        (!before || row.updatedAt <= before) &&
        tests.every((test) => test(row)),
    );
    const page = call.since('2.59') ? pageOf(found, query, (row) => row.id) : found;
    const context = { publicUrl: call.publicUrl, showHosts: call.can(`${rule}:host`) };
    return {
      migrations: page.map((row) => migrationView.render(call.version, row, context)),
      ...(call.since('2.59') ? nextLink(call, 'migrations', page, page.at(-1)?.id) : {}),
    };
  }
}
