import type { ByVersion } from '@omnivisor/openstack';
import { z } from 'zod';
import * as t from '../common/parameters.js';
import { queryByVersion, wrapped } from '../common/versions.js';

const longDescription = z
  .string()
  .max(65_535)
  .refine((text) => !/[\p{C}\p{Zl}\p{Zp}]/u.test(text), { error: 'printable characters' })
  .nullable();

const flavorId = z
  .union([
    z
      .string()
      .min(1)
      .max(255)
      .regex(/^(?! )[a-zA-Z0-9. _-]+(?<! )$/),
    z.number().transform(String),
    z.null(),
  ])
  .optional();
const rxtxFactor = z
  .preprocess(
    (value) => (typeof value === 'string' && /^[0-9]+(\.[0-9]+)?$/.test(value) ? Number(value) : value),
    z.number().gt(0).max(3.40282e38),
  )
  .optional();

export const createFlavor: ByVersion<z.ZodType> = wrapped('flavor', {
  name: [['2.1', t.name]],
  id: [['2.1', flavorId]],
  ram: [['2.1', t.positiveInteger]],
  vcpus: [['2.1', t.positiveInteger]],
  disk: [['2.1', t.nonNegativeInteger]],
  'OS-FLV-EXT-DATA:ephemeral': [['2.1', t.nonNegativeInteger.optional()]],
  swap: [['2.1', t.nonNegativeInteger.optional()]],
  rxtx_factor: [
    ['2.1', rxtxFactor],
    ['2.102', null],
  ],
  'os-flavor-access:is_public': [['2.1', t.boolean.optional()]],
  description: [['2.55', longDescription.optional()]],
});

export interface CreateFlavorBody {
  readonly flavor: {
    readonly name: string;
    readonly id?: string | null;
    readonly ram: number;
    readonly vcpus: number;
    readonly disk: number;
    readonly 'OS-FLV-EXT-DATA:ephemeral'?: number;
    readonly swap?: number;
    readonly rxtx_factor?: number;
    readonly 'os-flavor-access:is_public'?: boolean;
    readonly description?: string | null;
  };
}

export const updateFlavor = z.strictObject({ flavor: z.strictObject({ description: longDescription }) });

/** Values are texts; numbers stand for theirs. */
const extraSpecValue = z.union([z.string().max(255), z.number().transform(String)]);
export const extraSpecs = z.record(z.string().regex(/^[a-zA-Z0-9\-_:. ]{1,255}$/), extraSpecValue);
export const setExtraSpecs = z.strictObject({ extra_specs: extraSpecs });

export const flavorAction = z.union([
  z.strictObject({ addTenantAccess: z.strictObject({ tenant: t.projectId }) }),
  z.strictObject({ removeTenantAccess: z.strictObject({ tenant: t.projectId }) }),
]);

const sortKeys = `created_at description disabled ephemeral_gb flavorid id is_public memory_mb name root_gb swap
  updated_at vcpu_weight vcpus`.split(/\s+/);
const sortKey = (keys: readonly string[]) => z.array(z.enum(keys as [string, ...string[]]));

export const listFlavorsQuery = queryByVersion({
  limit: [['2.1', t.limit]],
  marker: [['2.1', t.anyText]],
  is_public: [['2.1', t.anyText]],
  minRam: [['2.1', t.anyText]],
  minDisk: [['2.1', t.anyText]],
  sort_key: [
    ['2.1', sortKey([...sortKeys, 'rxtx_factor'])],
    ['2.102', sortKey(sortKeys)],
  ],
  sort_dir: [['2.1', z.array(z.enum(['asc', 'desc']))]],
  name: [['2.102', t.anyText]],
});
