import { invalid, notFound } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type ByVersion, type Call, computeWording, schemaIssues, VersionTable } from '@omnivisor/openstack';
import type { z } from 'zod';
import { type ServerRow, serverTable } from '../server/view/server.projection.js';

export const instanceNotFound = (id: string) => notFound(`Instance ${id.slice(0, 255)} could not be found.`);

/** The target of policy rules about a server. */
export const targetOf = (row: { readonly projectId: string; readonly userId: string }) => ({
  project_id: row.projectId,
  user_id: row.userId,
});

/**
 * The server with this id, if the caller may know of it: anybody else's does not exist.
 * @param deleted gives it after its deletion too
 * @throws DomainError `notFound`; `forbidden` when the rule refuses it to one who may know of it
 */
export const serverOf = async (
  call: Call,
  rows: RowReader,
  id: string,
  rule: string,
  options: { readonly deleted?: boolean } = {},
): Promise<ServerRow> => {
  const row = await rows.get(serverTable, id);
  if (!row || (row.deleted && !options.deleted) || (row.projectId !== call.token.projectId && !call.isAdmin))
    throw instanceNotFound(id);
  call.enforce(rule, targetOf(row));
  return row;
};

const tables = new WeakMap<object, VersionTable<z.ZodType>>();

/** Parses a part of a request that the operation's own schema leaves open, in Compute's words. */
export const parsed = <T>(call: Call, schema: ByVersion<z.ZodType>, input: unknown): T => {
  let table = tables.get(schema);
  if (!table) {
    table = new VersionTable(schema);
    tables.set(schema, table);
  }
  const at = table.at(call.version);
  if (!at) throw new Error(`no schema at ${call.version.major}.${call.version.minor}`);
  const result = at.safeParse(input);
  if (result.success) return result.data as T;
  throw invalid(computeWording(schemaIssues(result.error, input)[0]!, 'body'));
};
