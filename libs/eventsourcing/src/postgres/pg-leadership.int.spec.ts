import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { startTestPostgres, type TestPostgres } from '../testing/index.js';
import { PgLeadership } from './pg-leadership.js';

let postgres: TestPostgres;
let url: string;
const open: PgLeadership[] = [];
beforeAll(async () => {
  postgres = await startTestPostgres();
  url = await postgres.database();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((l) => l.stop()));
});
afterAll(() => postgres?.stop());

const candidate = (name: string, story: string[]) => {
  const leadership = new PgLeadership(url, 'scheduler', () => {});
  open.push(leadership);
  leadership.campaign(
    async () => void story.push(`${name} leads`),
    async () => void story.push(`${name} follows`),
  );
  return leadership;
};
const told = (story: string[], line: string) =>
  vi.waitFor(() => expect(story).toContain(line), { timeout: 15_000, interval: 20 });

describe('leadership in PostgreSQL', () => {
  it('is held by one, and passes on when it resigns', async () => {
    const story: string[] = [];
    const a = candidate('a', story);
    await told(story, 'a leads');
    candidate('b', story);
    await a.stop();
    await told(story, 'b leads');
    expect(story).toEqual(['a leads', 'a follows', 'b leads']);
  });

  it('is lost with its session, which then stands again', async () => {
    const story: string[] = [];
    candidate('a', story);
    await told(story, 'a leads');
    const admin = new pg.Client({ connectionString: url });
    await admin.connect();
    await admin.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'omnivisor scheduler leadership'",
    );
    await admin.end();
    await told(story, 'a follows');
    await vi.waitFor(() => expect(story).toEqual(['a leads', 'a follows', 'a leads']), { timeout: 15_000 });
  });
});
