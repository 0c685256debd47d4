import type { Instant, Position, RecordedEvent } from '@omnivisor/contracts';
import { type RowChange, type Table, table } from '@omnivisor/eventsourcing';
import type { Migration, Server } from '../server/state/server.js';

/** When and by whom a migration was asked for, and when it changed. */
export interface MigrationAt {
  /** Nova's `id`: where the log asks for it. */
  readonly number: Position;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
  readonly userId: string | null;
  readonly projectId: string | null;
}

/** A migration of a server. It stays after the server is gone. */
export interface MigrationRow extends MigrationAt, Omit<Migration, 'transfers' | 'attempt'> {
  readonly serverId: string;
  /** Names of the hosts, for lists of what left one and came to one. */
  readonly sourceHost: string;
  readonly targetHost: string | null;
}

export const migrationTable = table<MigrationRow>('migrations_v1', ['serverId', 'number'], ['number'], ['createdAt']);

export const migrationAt = (
  before: Migration | undefined,
  known: MigrationAt | undefined,
  now: Migration | undefined,
  { position, recordedAt, context: { actor } }: RecordedEvent,
): MigrationAt | undefined => {
  if (!now) return undefined;
  if (known && before?.id === now.id) return before === now ? known : { ...known, updatedAt: recordedAt };
  const user = actor.kind === 'user' ? actor : null;
  const by = { userId: user?.userId ?? null, projectId: user?.projectId ?? null };
  return { number: position, createdAt: recordedAt, updatedAt: recordedAt, ...by };
};

/** The row of a server's newest migration. */
export const migrationOf = (
  row:
    | (Pick<Server, 'migration'> & { readonly id: string; readonly migrationAt?: MigrationAt | undefined })
    | undefined,
): RowChange[] => {
  if (!row?.migration || !row.migrationAt) return [];
  const { transfers: _, attempt: __, ...migration } = row.migration;
  const { source, target } = migration;
  const hosts = { sourceHost: source.hostName, targetHost: target?.hostName ?? null };
  const told: MigrationRow = { ...migration, ...row.migrationAt, ...hosts, serverId: row.id };
  return [{ table: migrationTable as Table<never>, key: migration.id, row: told as never }];
};
