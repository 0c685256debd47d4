import type { Call } from '@omnivisor/openstack';
import { selfLink } from '../common.js';
import type { GroupRow } from '../record/tables.js';

export const groupView = (call: Call, row: GroupRow) => ({
  ...row.extra,
  id: row.id,
  name: row.name,
  domain_id: row.domainId,
  description: row.description,
  links: selfLink(call, `groups/${row.id}`),
});
export const groupTarget = (row: { id?: string; domainId: string; name?: string }) => ({
  group: { id: row.id, name: row.name, domain_id: row.domainId },
});
