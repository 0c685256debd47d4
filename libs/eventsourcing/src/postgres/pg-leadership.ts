import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Leadership } from '../leadership.js';

/** Numbers of the locks; nothing else in the database may use them. "omni" in ASCII, and what follows. */
const LOCKS = { scheduler: 0x6f6d6e69, sealer: 0x6f6d6e6a } as const;
const RETRY = 1_000;
const CHECK = 2_000;
const CHECK_LIMIT = 3_000;

/**
 * Leadership by a session advisory lock: PostgreSQL gives it back when the session ends, however it ends. The session
 * is asked every two seconds whether it still is one, so that a cut connection is noticed.
 */
export class PgLeadership implements Leadership {
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;

  constructor(
    private readonly connectionString: string,
    private readonly office: keyof typeof LOCKS,
    private readonly onError: (where: string, error: unknown) => void,
  ) {}

  campaign(gained: () => Promise<void>, lost: () => Promise<void>): void {
    this.running = this.run(gained, lost);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(gained: () => Promise<void>, lost: () => Promise<void>): Promise<void> {
    while (!this.stopping.signal.aborted) {
      try {
        await this.term(gained, lost);
      } catch (error) {
        this.onError('leadership', error);
      }
      await this.pause(RETRY);
    }
  }

  private async term(gained: () => Promise<void>, lost: () => Promise<void>): Promise<void> {
    const client = new pg.Client({
      connectionString: this.connectionString,
      application_name: `omnivisor ${this.office} leadership`,
      connectionTimeoutMillis: CHECK_LIMIT,
      query_timeout: CHECK_LIMIT,
      keepAlive: true,
    });
    let ended = false;
    client.on('error', () => {
      ended = true;
    });
    client.on('end', () => {
      ended = true;
    });
    try {
      await client.connect();
      while (!(await this.lock(client))) {
        await this.pause(RETRY);
        if (this.stopping.signal.aborted) return;
      }
      try {
        await gained();
        while (!ended && !this.stopping.signal.aborted) {
          await this.pause(CHECK);
          if (!ended) await client.query('select 1');
        }
      } finally {
        await lost();
      }
    } finally {
      await client.end().catch((error) => this.onError('leadership: ending the session', error));
    }
  }

  private async lock(client: pg.Client): Promise<boolean> {
    const { rows } = await client.query<{ held: boolean }>('select pg_try_advisory_lock($1) as held', [
      LOCKS[this.office],
    ]);
    return rows[0]?.held === true;
  }

  private pause(duration: number): Promise<void> {
    return sleep(duration, undefined, { signal: this.stopping.signal }).catch(() => {});
  }
}
