import { type EventSet, eventSets } from '@omnivisor/contracts';
import pg from 'pg';
import { Link } from './link.js';
import { LOG_FUNCTIONS, LOG_STEPS } from './log-schema.js';

/** A service's login: it may read the log and append to its own streams, and owns one schema for its read model. */
export interface ServiceRole {
  /** As in `EventSet.writer`; another name may read only. */
  readonly service: string;
  /** Name of the PostgreSQL role. */
  readonly role: string;
  readonly password: string;
  /** Schema of its read model, made when missing. */
  readonly schema?: string;
}

/** Taken for the time of a migration, so that services which start together take turns. */
const MIGRATION_LOCK = 7_164_508_231;

const quoted = pg.escapeIdentifier;
const literal = pg.escapeLiteral;

const roleSteps = ({ role, password, schema }: ServiceRole): string[] => [
  `do $$ begin create role ${quoted(role)} login; exception when duplicate_object or unique_violation then null; end $$`,
  `alter role ${quoted(role)} with login nosuperuser nocreatedb nocreaterole noreplication password ${literal(password)}`,
  `grant usage on schema log to ${quoted(role)}`,
  `grant select on log.event, log.head, log.checkpoint, log.tile to ${quoted(role)}`,
  `grant execute on function log.append, log.seal to ${quoted(role)}`,
  ...(schema === undefined ? [] : [`create schema if not exists ${quoted(schema)} authorization ${quoted(role)}`]),
];

/**
 * Makes or updates the log and the roles of the services; may run any number of times.
 * @param url of the owner: its role makes schemas and roles, and may append to every stream
 */
export const migrate = async (
  url: string,
  roles: readonly ServiceRole[] = [],
  sets: readonly EventSet[] = eventSets,
): Promise<void> => {
  const link = new Link({ url, name: 'omnivisor migrate', timeout: 120_000 });
  const transaction = link.pin();
  const run = (text: string) => transaction.query<[unknown]>({ text });
  try {
    await run('begin');
    await run(`select pg_advisory_xact_lock(${MIGRATION_LOCK})`);
    await run('create schema if not exists log');
    await run('create table if not exists log.migration (step integer primary key, at timestamptz default now())');
    const [[done] = [0]] = await transaction.query<[number]>({ text: 'select count(*) from log.migration' });
    for (const [step, sql] of LOG_STEPS.entries()) {
      if (step < done) continue;
      await run(sql);
      await run(`insert into log.migration (step) values (${step})`);
    }
    await run(LOG_FUNCTIONS);
    await run('revoke create on schema public from public');
    for (const role of roles) for (const step of roleSteps(role)) await run(step);
    for (const set of sets) {
      const writer = roles.find((r) => r.service === set.writer)?.role;
      await run(
        `insert into log.kind values (${literal(set.stream)}, ${writer === undefined ? 'null' : literal(writer)})
         on conflict (kind) do update set writer = coalesce(excluded.writer, log.kind.writer)`,
      );
    }
    await run('commit');
  } finally {
    await link.close();
  }
};
