import type { ServerEvent, ServerId } from '@omnivisor/contracts';

/** The newest migration of a server, as far as its claims are shown by it. */
export interface MigrationConsumer {
  readonly id: string;
  /** Attempt that the server has its claim under where it goes; null until it has a place. */
  readonly target: number | null;
  /** The server is, or is to be, what it was before. */
  readonly back: boolean;
  /** Nothing leads back any more. */
  readonly done: boolean;
}

/**
 * Of a server that moves or is resized Nova shows the claim where it goes under the server, and what it was before under the
 * migration; when it goes back, the other way round. A fold of the servers' events.
 */
export class MigrationConsumers {
  private readonly newest = new Map<ServerId, MigrationConsumer>();
  private readonly servers = new Map<string, ServerId>();

  entries(): Iterable<readonly [ServerId, MigrationConsumer]> {
    return this.newest;
  }

  put(serverId: ServerId, migration: MigrationConsumer): void {
    this.newest.set(serverId, migration);
    this.servers.set(migration.id, serverId);
  }

  apply(event: ServerEvent): void {
    const { serverId } = event.data;
    const before = this.newest.get(serverId);
    switch (event.type) {
      case 'ServerMigrateRequested':
      case 'ServerLiveMigrateRequested':
      case 'ServerResizeRequested': {
        const id = event.data.migrationId;
        this.forget(serverId);
        if (id === undefined) return;
        this.put(serverId, { id, target: null, back: false, done: false });
        return;
      }
      case 'ServerMigrationScheduled':
      case 'ServerResizeScheduled':
        if (before) this.newest.set(serverId, { ...before, target: event.data.attempt });
        return;
      case 'ServerResizeRevertRequested':
      case 'ServerMigrationFailed':
        this.goBack(serverId);
        return;
      case 'ServerActionFailed':
        if (event.data.action === 'live-migration' && !event.data.unheard) this.goBack(serverId);
        return;
      case 'ServerMigrationConfirmed':
      case 'ServerResizeConfirmed':
        if (before) this.newest.set(serverId, { ...before, done: true });
        return;
      case 'ServerResourcesReleased':
        this.forget(serverId);
    }
  }

  /** The server that a migration is, or was last, of. */
  serverOf(migrationId: string): ServerId | undefined {
    return this.servers.get(migrationId);
  }

  /** The migration that a claim of a server is shown under; undefined for one of the server's own. */
  consumerOf(serverId: ServerId, attempt: number, isClaimed: (attempt: number) => boolean): string | undefined {
    const migration = this.newest.get(serverId);
    if (!migration || migration.target === null || !isClaimed(migration.target)) return undefined;
    return (attempt === migration.target) === migration.back ? migration.id : undefined;
  }

  private goBack(serverId: ServerId): void {
    const migration = this.newest.get(serverId);
    if (migration && !migration.done) this.newest.set(serverId, { ...migration, back: true });
  }

  private forget(serverId: ServerId): void {
    const migration = this.newest.get(serverId);
    if (migration) this.servers.delete(migration.id);
    this.newest.delete(serverId);
  }
}
