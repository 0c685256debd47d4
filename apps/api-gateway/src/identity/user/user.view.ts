import type { Call } from '@omnivisor/openstack';
import { selfLink } from '../common.js';
import type { UserRow } from '../record/tables.js';

export const userView = (call: Call, row: UserRow) => ({
  ...row.extra,
  id: row.id,
  name: row.name,
  domain_id: row.domainId,
  enabled: row.enabled,
  ...(row.description === null ? {} : { description: row.description }),
  ...(row.defaultProjectId === null ? {} : { default_project_id: row.defaultProjectId }),
  password_expires_at: null,
  options: row.options,
  links: selfLink(call, `users/${row.id}`),
});

export const userTarget = (row: { id: string; domainId: string; name: string }) => ({
  user: { id: row.id, name: row.name, domain_id: row.domainId },
});
