import type { RuleTable } from '../rule.js';

/** Rules of the audit API, which is our own. An auditor reads; nothing here changes anything. */
export const auditRules: RuleTable = {
  auditor_of_all: 'role:admin or (role:auditor and system_scope:all)',
  auditor_of_project: 'role:auditor and project_id:%(project_id)s',
  'audit:events:list': 'rule:auditor_of_all or rule:auditor_of_project',
  /** Events of all projects and of the cloud itself, and on which hosts things are. */
  'audit:events:list_all': 'rule:auditor_of_all',
};
