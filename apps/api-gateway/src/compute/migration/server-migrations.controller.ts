import { Controller } from '@nestjs/common';
import { DomainError, invalid, MigrationProgress, notFound, type ServerId, seconds } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf } from '../common/access.js';
import { strictFrom } from '../common/versions.js';
import { hostTable } from '../host/host.projection.js';
import { requireFeature } from '../host/host-features.js';
import { LiveAnswers, toldBy } from '../host/live-answers.js';
import { serverAggregate } from '../server/lifecycle/server-lifecycle.js';
import type { ServerRow } from '../server/view/server.projection.js';
import { type MigrationRow, migrationTable } from './migration.projection.js';
import { isLiveInProgress, serverMigrationView, statusOf } from './migration.view.js';

const service = 'compute' as const;
const path = '/v2.1/servers/:id/migrations';
const rule = (name: string) => `os_compute_api:servers:migrations:${name}`;
/** A host that hangs must not keep what the log knows. */
const DEADLINE = seconds(2);

/** The live migration of a server that is under way. */
@Controller()
export class ServerMigrationsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly live: LiveAnswers,
  ) {}

  @Operation({
    service,
    method: 'GET',
    path,
    versions: ['2.23'],
    policy: rule('index'),
    query: strictFrom('2.102'),
  })
  async list(call: Call) {
    const { rows, server } = await this.server(call, 'index');
    const found = await this.inProgress(rows, server);
    return { migrations: await Promise.all(found.map((row) => this.shown(call, rows, row))) };
  }

  @Operation({
    service,
    method: 'GET',
    path: `${path}/:migration`,
    versions: ['2.23'],
    policy: rule('show'),
    query: strictFrom('2.102'),
  })
  async show(call: Call) {
    const { rows, server } = await this.server(call, 'show');
    const row = (await this.inProgress(rows, server)).find(isNamed(call));
    if (!row) throw inProgressNotFound(call, server);
    return { migration: await this.shown(call, rows, row) };
  }

  @Operation({
    service,
    method: 'DELETE',
    path: `${path}/:migration`,
    versions: ['2.24'],
    policy: rule('delete'),
    status: 202,
  })
  async abort(call: Call) {
    const { rows, server } = await this.server(call, 'delete');
    const row = await this.named(call, rows, server);
    const abortable = call.since('2.65') ? ['queued', 'running'] : ['running'];
    if (row.kind !== 'live-migration' || !abortable.includes(statusOf(row)))
      throw invalid(
        `Migration ${row.number} state of instance ${server.id} is ${statusOf(row)}. ` +
          `Cannot abort_live_migration while the migration is in this state.`,
      );
    const command = {
      type: 'abortMigration',
      serverId: server.id,
      migrationId: row.id,
      asAdmin: call.isAdmin,
    } as const;
    await this.core.commands.execute(serverAggregate, server.id, command, call.context());
  }

  @Operation({
    service,
    method: 'POST',
    path: `${path}/:migration/action`,
    versions: ['2.22'],
    policy: rule('force_complete'),
    body: z.strictObject({ force_complete: z.null() }),
    status: 202,
  })
  async complete(call: Call) {
    const { rows, server } = await this.server(call, 'force_complete');
    const row = await this.named(call, rows, server);
    if (row.kind !== 'live-migration' || row.status !== 'running')
      throw invalid(
        `Migration ${row.number} state of instance ${server.id} is ${statusOf(row)}. ` +
          `Cannot force_complete while the migration is in this state.`,
      );
    await requireFeature(rows, server, 'liveMigration.forced');
    const command = {
      type: 'forceMigration',
      serverId: server.id,
      migrationId: row.id,
      asAdmin: call.isAdmin,
    } as const;
    await this.core.commands.execute(serverAggregate, server.id, command, call.context());
  }

  private async server(call: Call, name: string) {
    const rows = await this.core.fresh();
    return { rows, server: await serverOf(call, rows, call.params.id!, rule(name)) };
  }

  private async inProgress(rows: RowReader, { id }: ServerRow): Promise<MigrationRow[]> {
    const found = await rows.find(migrationTable, { where: { serverId: id }, orderBy: [['number', 'asc']] });
    return found.filter(isLiveInProgress);
  }

  private async named(call: Call, rows: RowReader, server: ServerRow): Promise<MigrationRow> {
    const found = (await rows.find(migrationTable, { where: { serverId: server.id } })).find(isNamed(call));
    if (!found) throw notFound(`Migration ${call.params.migration!.slice(0, 64)} not found for instance ${server.id}`);
    return found;
  }

  private async shown(call: Call, rows: RowReader, row: MigrationRow) {
    const progress = await this.progressOf(rows, row);
    const context = { publicUrl: call.publicUrl, showHosts: call.can(rule('index:host')), progress };
    return serverMigrationView.render(call.version, row, context);
  }

  /** Null where it is not to be had; of the past, too: the log has not kept it. */
  private async progressOf(rows: RowReader, { status, source, serverId }: MigrationRow) {
    if (status !== 'running' || this.core.isLookingBack) return null;
    const host = await rows.get(hostTable, source.host);
    if (!host?.up) return null;
    try {
      const question = { kind: 'migrationProgress', serverId: serverId as ServerId } as const;
      const answer = await this.live.ask(host.id, question, DEADLINE);
      return toldBy(answer, MigrationProgress.nullable(), 'The host does not tell how far it is now.');
    } catch (error) {
      if (error instanceof DomainError) return null;
      throw error;
    }
  }
}

const isNamed = (call: Call) => (row: MigrationRow) => `${row.number}` === call.params.migration;

const inProgressNotFound = (call: Call, { id }: ServerRow) =>
  notFound(`In-progress live migration ${call.params.migration!.slice(0, 64)} is not found for server ${id}.`);
