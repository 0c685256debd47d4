import type { ByVersion } from '@omnivisor/openstack';
import { z } from 'zod';
import * as t from '../common/parameters.js';
import { BadPattern, matcher } from '../common/safe-regex.js';
import { type FieldHistory, objectByVersion, queryByVersion, wrapped } from '../common/versions.js';
import type { InjectedFiles } from './create/injected-files.js';

const hintIds = z.union([t.uuid, z.array(t.uuid)]);
const hints = z.looseObject({
  group: z.union([t.uuid, z.array(t.uuid)]).optional(),
  different_host: hintIds.optional(),
  same_host: z.union([z.string(), z.array(t.uuid)]).optional(),
  query: z.union([z.string(), z.record(z.string(), z.unknown())]).optional(),
  target_cell: t.name.optional(),
  different_cell: z.union([z.string(), z.array(z.string())]).optional(),
  build_near_host_ip: t.ipAddress.optional(),
  cidr: z
    .string()
    .regex(/^\/[0-9a-f.:]+$/)
    .optional(),
});

const legacyDevice = {
  virtual_name: z.string().max(255).optional(),
  volume_id: t.uuid.optional(),
  snapshot_id: t.uuid.optional(),
  volume_size: t.positiveInteger.optional(),
  device_name: z
    .string()
    .min(1)
    .max(255)
    .regex(/^[a-zA-Z0-9._/-]*$/)
    .optional(),
  delete_on_termination: t.boolean.optional(),
  no_device: z.unknown().optional(),
  connection_info: z.string().optional(),
};
const device = {
  ...legacyDevice,
  source_type: z.enum(['volume', 'image', 'snapshot', 'blank']).optional(),
  uuid: z
    .string()
    .min(1)
    .max(255)
    .regex(/^[a-zA-Z0-9._-]*$/)
    .optional(),
  image_id: t.uuid.optional(),
  destination_type: z.enum(['local', 'volume']).optional(),
  guest_format: z.string().max(255).optional(),
  device_type: z.string().max(255).optional(),
  disk_bus: z.string().max(255).optional(),
  boot_index: z.union([z.int(), z.string().regex(/^-?[0-9]+$/), z.null()]).optional(),
};
const devices = (extra: Record<string, z.ZodType> = {}) => z.array(z.strictObject({ ...device, ...extra })).optional();
const tagged = { tag: t.tag.optional() };
const typed = { ...tagged, volume_type: z.string().max(255).nullable().optional() };

const network = (uuid: z.ZodType, extra: Record<string, z.ZodType> = {}) =>
  z.array(
    z.strictObject({
      fixed_ip: t.ipAddress.optional(),
      port: t.uuid.nullable().optional(),
      uuid: uuid.optional(),
      ...extra,
    }),
  );
const choice = (list: z.ZodType) => z.union([list, z.enum(['none', 'auto'])]);

const since = (from: string, schema: z.ZodType): FieldHistory => [[from, schema]];
const always = (schema: z.ZodType): FieldHistory => since('2.1', schema);

const createFields: Readonly<Record<string, FieldHistory>> = {
  name: always(t.name),
  flavorRef: always(t.flavorRef),
  imageRef: always(z.union([z.literal(''), t.uuid]).optional()),
  adminPass: always(z.string().max(1_024).optional()),
  metadata: always(t.metadata.optional()),
  networks: [
    ['2.1', network(z.string()).optional()],
    ['2.32', network(z.string(), tagged).optional()],
    ['2.37', choice(network(t.uuid))],
    ['2.42', choice(network(t.uuid, tagged))],
  ],
  'OS-DCF:diskConfig': always(t.diskConfig.optional()),
  accessIPv4: always(t.ipv4.optional()),
  accessIPv6: always(t.ipv6.optional()),
  personality: [
    ['2.1', t.personality.optional()],
    ['2.57', null],
  ],
  availability_zone: always(t.name.optional()),
  block_device_mapping: always(z.array(z.strictObject(legacyDevice)).optional()),
  block_device_mapping_v2: [
    ['2.1', devices()],
    ['2.32', devices(tagged)],
    ['2.33', devices()],
    ['2.42', devices(tagged)],
    ['2.67', devices(typed)],
  ],
  config_drive: always(t.boolean.optional()),
  key_name: always(t.name.optional()),
  min_count: always(t.positiveInteger.optional()),
  max_count: always(t.positiveInteger.optional()),
  return_reservation_id: always(t.boolean.optional()),
  security_groups: always(z.array(z.strictObject({ name: t.name.optional() })).optional()),
  user_data: always(t.base64.optional()),
  description: since('2.19', t.description.optional()),
  tags: since('2.52', z.array(t.tag).max(t.MAX_TAGS).optional()),
  trusted_image_certificates: since('2.63', t.trustedCertificates.optional()),
  host: since('2.74', t.fqdn.optional()),
  hypervisor_hostname: since('2.74', t.fqdn.optional()),
  hostname: [
    ['2.90', t.hostname.optional()],
    ['2.94', t.fqdn.optional()],
  ],
};

export const createServer: ByVersion<z.ZodType> = objectByVersion(createFields, (server) =>
  z.strictObject({
    server,
    'os:scheduler_hints': hints.optional(),
    'OS-SCH-HNT:scheduler_hints': hints.optional(),
  }),
);

/** A body of POST /servers after its schema: fields that the microversion does not have are missing. */
export interface CreateServerBody {
  readonly server: {
    readonly name: string;
    readonly flavorRef: string;
    readonly imageRef?: string;
    readonly adminPass?: string;
    readonly metadata?: Readonly<Record<string, string>>;
    readonly networks?:
      | 'auto'
      | 'none'
      | readonly {
          readonly uuid?: string;
          readonly port?: string | null;
          readonly fixed_ip?: string;
          readonly tag?: string;
        }[];
    readonly 'OS-DCF:diskConfig'?: 'AUTO' | 'MANUAL';
    readonly accessIPv4?: string;
    readonly accessIPv6?: string;
    readonly personality?: InjectedFiles;
    readonly availability_zone?: string;
    readonly block_device_mapping?: readonly unknown[];
    readonly block_device_mapping_v2?: readonly {
      readonly source_type?: string;
      readonly destination_type?: string;
      readonly uuid?: string;
      readonly image_id?: string;
      readonly boot_index?: number | string | null;
      readonly volume_id?: string;
      readonly snapshot_id?: string;
      readonly volume_size?: number;
    }[];
    readonly config_drive?: boolean;
    readonly key_name?: string;
    readonly min_count?: number;
    readonly max_count?: number;
    readonly return_reservation_id?: boolean;
    readonly security_groups?: readonly { readonly name?: string }[];
    readonly user_data?: string;
    readonly description?: string | null;
    readonly tags?: readonly string[];
    readonly trusted_image_certificates?: readonly string[] | null;
    readonly host?: string;
    readonly hypervisor_hostname?: string;
    readonly hostname?: string;
  };
  readonly 'os:scheduler_hints'?: Readonly<Record<string, unknown>>;
  readonly 'OS-SCH-HNT:scheduler_hints'?: Readonly<Record<string, unknown>>;
}

export const updateServer: ByVersion<z.ZodType> = wrapped('server', {
  name: always(t.name.optional()),
  'OS-DCF:diskConfig': always(t.diskConfig.optional()),
  accessIPv4: always(t.ipv4.optional()),
  accessIPv6: always(t.ipv6.optional()),
  description: since('2.19', t.description.optional()),
  hostname: [
    ['2.90', t.hostname.optional()],
    ['2.94', t.fqdn.optional()],
  ],
  pinned_availability_zone: since('2.104', z.string().min(1).max(255).nullable().optional()),
});

export interface UpdateServerBody {
  readonly server: {
    readonly name?: string;
    readonly 'OS-DCF:diskConfig'?: 'AUTO' | 'MANUAL';
    readonly accessIPv4?: string;
    readonly accessIPv6?: string;
    readonly description?: string | null;
    readonly hostname?: string;
    readonly pinned_availability_zone?: string | null;
  };
}

const pattern = z.array(
  z.string().superRefine((text, context) => {
    try {
      matcher(text);
    } catch (error) {
      if (!(error instanceof BadPattern)) throw error;
      context.addIssue({ code: 'custom', message: `'${text.slice(0, 255)}' is not a 'regex'` });
    }
  }),
);

const words = (text: string) => text.trim().split(/\s+/);
const sortable = words(
  `access_ip_v4 access_ip_v6 auto_disk_config availability_zone config_drive created_at display_description
   display_name host hostname image_ref instance_type_id kernel_id key_name launch_index launched_at locked_by node
   power_state progress project_id ramdisk_id root_device_name task_state terminated_at updated_at user_id uuid vm_state`,
);
/** Once accepted and without effect; refused from 2.75 on. */
export const ignoredSortKeys: ReadonlySet<string> = new Set(
  words(
    `architecture cell_name cleaned default_ephemeral_device default_swap_device deleted deleted_at disable_terminate
     ephemeral_gb ephemeral_key_uuid id key_data launched_on locked memory_mb os_type reservation_id root_gb
     shutdown_terminate user_data vcpus vm_mode`,
  ),
);
const sortKeys = (keys: readonly string[]) => z.array(z.enum(keys as [string, ...string[]]));

const plain = words(
  `user_id project_id tenant_id launch_index image_ref image vm_state task_state host uuid sort_dir all_tenants
   soft_deleted deleted status`,
);
const patterns = words(
  `kernel_id ramdisk_id hostname key_name power_state node flavor reservation_id launched_at terminated_at
   availability_zone name display_name description display_description locked_by root_device_name config_drive
   access_ip_v4 access_ip_v6 auto_disk_config progress ip ip6 created_at`,
);
/** Names of joined tables: filters once, refused since. */
export const joinedTables = words(
  'block_device_mapping services metadata system_metadata info_cache security_groups pci_devices',
);
export const tagFilters = ['tags', 'tags-any', 'not-tags', 'not-tags-any'] as const;

export const listServersQuery: ByVersion<z.ZodType> = queryByVersion({
  ...Object.fromEntries([...plain, ...joinedTables].map((key) => [key, always(t.anyText)])),
  ...Object.fromEntries(patterns.map((key) => [key, always(pattern)])),
  ...Object.fromEntries(tagFilters.map((key) => [key, since('2.26', t.anyText)])),
  limit: always(t.limit),
  marker: always(t.anyText),
  'changes-since': always(t.dateTime),
  'changes-before': since('2.66', t.dateTime),
  locked: since('2.73', t.anyText),
  sort_key: [
    ['2.1', sortKeys([...sortable, ...ignoredSortKeys])],
    ['2.73', sortKeys([...sortable, ...ignoredSortKeys])],
    ['2.75', sortKeys([...sortable, 'locked'])],
  ],
});
/** Filters that are patterns; the others are compared whole. */
export const patternFilters: ReadonlySet<string> = new Set(patterns);
