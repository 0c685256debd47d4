import { forbidden, seconds } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';

/** What a caller of the audit API may see. */
export interface AuditScope {
  /** The one project; undefined for all of them and the cloud itself. */
  readonly project: string | undefined;
  readonly showHosts: boolean;
}

/** How long a request may wait for the index of the log. */
export const PATIENCE = seconds(5);

const LIST = 'audit:events:list';

/** @throws DomainError `forbidden` */
export const scopeOf = (call: Call): AuditScope => {
  if (call.can('audit:events:list_all')) return { project: undefined, showHosts: true };
  call.enforce(LIST);
  // A policy of an operator's own may let in a token without a project: it would see everything.
  const { projectId } = call.token;
  if (projectId === null) throw call.refusal(LIST);
  return { project: projectId, showHosts: false };
};

/**
 * The project to look for: null is the cloud itself, undefined all of them.
 * @throws DomainError `forbidden` for a project that the caller may not see
 */
export const projectWanted = (scope: AuditScope, asked: string | undefined): string | null | undefined => {
  if (scope.project === undefined) return asked === 'none' ? null : asked;
  if (asked !== undefined && asked !== scope.project)
    throw forbidden('An auditor of a project sees only this project.');
  return scope.project;
};
