import type { MigrationProgress } from '@omnivisor/contracts';
import { isoNaive, linksOf } from '../common/paging.js';
import { View, type ViewField } from '../common/versions.js';
import type { MigrationRow } from './migration.projection.js';

export interface MigrationViewContext {
  readonly publicUrl: string;
  /** The policy lets the caller see hosts. */
  readonly showHosts: boolean;
}

/** A live migration that has not ended: only such are told of under their server. */
export const isLiveInProgress = ({ kind, status }: MigrationRow): boolean =>
  kind === 'live-migration' && ['accepted', 'running', 'post-migrating'].includes(status);

/** Nova's word for a live migration that waits for its place. */
export const statusOf = ({ kind, status }: MigrationRow): string =>
  kind === 'live-migration' && status === 'accepted' ? 'queued' : status;

const forHosts = (value: (row: MigrationRow) => string | null) => (row: MigrationRow, context: MigrationViewContext) =>
  context.showHosts ? value(row) : undefined;

/** Nova's flavors have numbers inside; ours have one when their id is one. */
const numberOf = (flavorId: string): number | null => (/^\d{1,15}$/.test(flavorId) ? Number(flavorId) : null);

const common = [
  ['id', '2.1', null, (r: MigrationRow) => r.number],
  ['uuid', '2.59', null, (r: MigrationRow) => r.id],
  ['status', '2.1', null, statusOf],
  ['created_at', '2.1', null, (r: MigrationRow) => isoNaive(r.createdAt)],
  ['updated_at', '2.1', null, (r: MigrationRow) => (r.updatedAt === r.createdAt ? null : isoNaive(r.updatedAt))],
  ['source_compute', '2.1', null, forHosts((r) => r.sourceHost)],
  ['source_node', '2.1', null, forHosts((r) => r.source.node)],
  ['dest_compute', '2.1', null, forHosts((r) => r.targetHost)],
  ['dest_node', '2.1', null, forHosts((r) => r.target?.node ?? null)],
  // Nova keeps an address here for some hypervisors.
  ['dest_host', '2.1', null, forHosts(() => null)],
  ['user_id', '2.80', null, (r: MigrationRow) => r.userId],
  ['project_id', '2.80', null, (r: MigrationRow) => r.projectId],
] as const;

export const migrationView = new View<MigrationRow, MigrationViewContext>([
  ...common,
  ['instance_uuid', '2.1', null, (r) => r.serverId],
  ['old_instance_type_id', '2.1', null, (r) => numberOf(r.flavorBefore.id)],
  ['new_instance_type_id', '2.1', null, (r) => numberOf(r.flavor.id)],
  ['migration_type', '2.23', null, (r) => r.kind],
  [
    'links',
    '2.23',
    null,
    (r, c) =>
      isLiveInProgress(r) ? linksOf(c.publicUrl, `servers/${r.serverId}/migrations`, `${r.number}`) : undefined,
  ],
]);

export interface ServerMigrationViewContext extends MigrationViewContext {
  /** As its host tells; null where it does not. */
  readonly progress: MigrationProgress | null;
}

const amounts = {
  total: ({ total }: Part) => total,
  processed: ({ total, remaining }: Part) => Math.max(0, total - remaining),
  remaining: ({ remaining }: Part) => remaining,
};
type Part = MigrationProgress['memory'];

const bytes = (['memory', 'disk'] as const).flatMap((what) =>
  (['total', 'processed', 'remaining'] as const).map((of): ViewField<MigrationRow, ServerMigrationViewContext> => {
    const value = (_: MigrationRow, { progress }: ServerMigrationViewContext) =>
      progress && Math.round(amounts[of](progress[what]));
    return [`${what}_${of}_bytes`, '2.1', null, value];
  }),
);

export const serverMigrationView = new View<MigrationRow, ServerMigrationViewContext>([
  ...common,
  ...bytes,
  ['server_uuid', '2.1', null, (r) => r.serverId],
]);
