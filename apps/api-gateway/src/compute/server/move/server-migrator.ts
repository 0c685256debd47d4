import { Injectable } from '@nestjs/common';
import { type HostFacts, invalid, type MigrationId } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import * as t from '../../common/parameters.js';
import { objectByVersion } from '../../common/versions.js';
import { type HostRow, hostTable } from '../../host/host.projection.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import type { ServerRow } from '../view/server.projection.js';
import { coldNeeds, liveNeeds, refuseUnfit } from './move-needs.js';
import { guardMigration } from './server-migration.js';

const host = t.fqdn.nullable();
const flag = t.boolean.optional();

export const migrateSchema = [
  ['2.1', z.unknown()],
  ['2.56', z.strictObject({ host: host.optional() }).nullable()],
] as const;

export const migrateLiveSchema = objectByVersion({
  host: [['2.1', host]],
  block_migration: [
    ['2.1', t.boolean],
    ['2.25', z.union([t.boolean, z.literal('auto')])],
  ],
  disk_over_commit: [
    ['2.1', t.boolean],
    ['2.25', null],
  ],
  force: [
    ['2.30', flag],
    ['2.68', null],
  ],
});

interface Live {
  readonly host: string | null;
  readonly block_migration: boolean | 'auto';
}

const policy = 'os_compute_api:os-migrate-server';

/** Takes the wish to move a server to another host: checks what can be known now, and writes it to the log. */
@Injectable()
export class ServerMigrator {
  constructor(private readonly core: GatewayCore) {}

  async migrate(call: Call, row: ServerRow, value: { readonly host?: string | null } | null): Promise<undefined> {
    guardMigration(row, row.id, call.isAdmin, 'migrate');
    const source = await sourceOf(await this.core.fresh(), row);
    const wanted = (call.since('2.56') && value?.host) || null;
    const here = 'Cannot migrate to the host where the server exists.';
    const needs = source ? coldNeeds(source, wanted !== null) : [];
    await this.check(call, row, wanted, `${policy}:migrate:host`, here, needs);
    const command = { type: 'migrate', ...this.asked(call, row, wanted) } as const;
    await this.core.commands.execute(serverAggregate, row.id, command, call.context());
    return undefined;
  }

  /** Who leaves the choice open has the disks go along where the two hosts do not have them both. */
  async migrateLive(call: Call, row: ServerRow, { host: wanted, block_migration: block }: Live): Promise<undefined> {
    guardMigration(row, row.id, call.isAdmin, 'liveMigrate');
    const source = await sourceOf(await this.core.fresh(), row);
    const way = wayOf(call, block);
    const needs = source ? liveNeeds(source, way) : [];
    const here = `Unable to migrate instance (${row.id}) to current host (${wanted}).`;
    await this.check(call, row, wanted, `${policy}:migrate_live:host`, here, needs);
    const command = { type: 'liveMigrate', ...this.asked(call, row, wanted), ...way } as const;
    await this.core.commands.execute(serverAggregate, row.id, command, call.context());
    return undefined;
  }

  private asked(call: Call, row: ServerRow, requestedHost: string | null) {
    const migrationId = this.core.ids.uuid() as MigrationId;
    return { serverId: row.id, migrationId, requestedHost, asAdmin: call.isAdmin };
  }

  private async check(
    call: Call,
    row: ServerRow,
    name: string | null,
    rule: string,
    here: string,
    needs: Parameters<typeof refuseUnfit>[1],
  ): Promise<void> {
    if (name === null) return;
    call.enforce(rule, { project_id: row.projectId, user_id: row.userId });
    const { facts } = await targetNamed(await this.core.fresh(), row, name, here);
    if (facts) refuseUnfit(facts, needs);
  }
}

/** What is known of the host that a server is on. */
export const sourceOf = async (rows: RowReader, { onHost }: ServerRow): Promise<HostFacts | null | undefined> =>
  onHost ? (await rows.get(hostTable, onHost))?.facts : undefined;

/** Before 2.25 a client has to say something: false is what it says when nobody cares. */
const wayOf = (call: Call, block: Live['block_migration']) => {
  if (block === true) return { disks: 'copied' } as const;
  return block === false && call.since('2.25')
    ? ({ disks: 'shared' } as const)
    : ({ disks: 'copied', mayShare: true } as const);
};

/**
 * The host of that name, as the target of a server's move.
 * @param here what to say of the host that the server is on
 */
export const targetNamed = async (rows: RowReader, row: ServerRow, name: string, here: string): Promise<HostRow> => {
  const host = (await rows.find(hostTable, { where: { name } })).find((h) => !h.retired);
  if (!host) throw invalid(`Compute host ${name} could not be found.`);
  if (host.id === row.onHost) throw invalid(here);
  if (!host.up) throw invalid(`Compute service of ${name} is unavailable at this time.`);
  return host;
};
