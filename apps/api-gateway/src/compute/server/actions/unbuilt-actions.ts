import type { ByVersion } from '@omnivisor/openstack';
import { z } from 'zod';
import * as t from '../../common/parameters.js';
import { type FieldHistory, objectByVersion } from '../../common/versions.js';
import type { ServerActionSpec } from './server-action.js';

const always = (schema: z.ZodType): FieldHistory => [['2.1', schema]];
const object = (fields: Readonly<Record<string, FieldHistory>>) => objectByVersion(fields);
const anything: ByVersion<z.ZodType> = [['2.1', z.unknown()]];

const password = z.string();
const metadata = always(t.metadata.optional());
const flag = t.boolean.optional();

const evacuate = object({
  host: always(t.fqdn.optional()),
  adminPass: always(password.optional()),
  onSharedStorage: [
    ['2.1', t.boolean],
    ['2.14', null],
  ],
  force: [
    ['2.29', flag],
    ['2.68', null],
  ],
});

const unshelve: ByVersion<z.ZodType> = [
  ['2.1', z.unknown()],
  ['2.77', z.strictObject({ availability_zone: t.name }).nullable()],
  [
    '2.91',
    z.strictObject({ availability_zone: z.string().nullable().optional(), host: z.string().optional() }).nullable(),
  ],
];

const unbuilt = (
  policy: string,
  value: ByVersion<z.ZodType> = anything,
  versions?: readonly [string, string?],
): ServerActionSpec => ({
  policy: `os_compute_api:${policy}`,
  value,
  host: 'none',
  run: { kind: 'unsupported' },
  ...(versions ? { versions } : {}),
});

/** Actions that Compute knows and nothing here does yet: a body that is wrong is told so all the same. */
export const unbuiltActions: Readonly<Record<string, ServerActionSpec>> = {
  evacuate: unbuilt('os-evacuate', evacuate),
  shelve: unbuilt('os-shelve:shelve'),
  shelveOffload: unbuilt('os-shelve:shelve_offload'),
  unshelve: unbuilt('os-shelve:unshelve', unshelve),
  createBackup: unbuilt(
    'os-create-backup',
    object({
      name: always(t.name),
      backup_type: always(z.string()),
      rotation: always(t.nonNegativeInteger),
      metadata,
    }),
  ),
  injectNetworkInfo: unbuilt('os-admin-actions:inject_network_info'),
  addFixedIp: unbuilt(
    'os-multinic:add',
    object({ networkId: always(z.union([z.string().min(1).max(36), z.number()])) }),
    ['2.1', '2.43'],
  ),
  removeFixedIp: unbuilt('os-multinic:remove', object({ address: always(t.ipAddress) }), ['2.1', '2.43']),
  addFloatingIp: unbuilt(
    'os-floating-ips:add',
    object({ address: always(t.ipAddress), fixed_address: always(t.ipAddress.optional()) }),
    ['2.1', '2.43'],
  ),
  removeFloatingIp: unbuilt('os-floating-ips:remove', object({ address: always(t.ipAddress) }), ['2.1', '2.43']),
};
