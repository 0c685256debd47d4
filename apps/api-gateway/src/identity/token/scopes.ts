import type { RowReader } from '@omnivisor/eventsourcing';
import { domainTable, projectTable } from '../record/tables.js';
import { ancestorsOf, assignmentsOf, holdsOn } from './directory.js';

/** Ids of the projects a user has a role on. */
export const projectsOf = async (rows: RowReader, userId: string): Promise<string[]> => {
  const all = await assignmentsOf(rows, userId);
  const direct = all.filter((a) => a.scopeKind === 'project' && !a.inherited).map((a) => a.scopeId);
  if (!all.some((a) => a.inherited)) return [...new Set(direct)];
  const found = new Set(direct);
  for (const project of await rows.find(projectTable)) {
    const ancestors = (await ancestorsOf(rows, project)).map((p) => p.id);
    const scope = { kind: 'project' as const, id: project.id };
    if (all.some((a) => holdsOn(a, scope, project.domainId, ancestors))) found.add(project.id);
  }
  return [...found];
};

/** Ids of the domains a user has a role on. */
export const domainsOf = async (rows: RowReader, userId: string): Promise<string[]> => {
  const ids = (await assignmentsOf(rows, userId))
    .filter((a) => a.scopeKind === 'domain' && !a.inherited)
    .map((a) => a.scopeId);
  return [...(await rows.getMany(domainTable, [...new Set(ids)])).keys()];
};

export const hasSystemRole = async (rows: RowReader, userId: string): Promise<boolean> =>
  (await assignmentsOf(rows, userId)).some((a) => a.scopeKind === 'system');
