import type { Inventory } from '@omnivisor/contracts';
import type { ByVersion } from '@omnivisor/openstack';
import { z } from 'zod';
import { uuidOf } from './providers.js';

const MAX_INT = 2_147_483_647;
const count = (least: number) => z.number().int().min(least).max(MAX_INT);
const generation = z.number().int();
const anyUuid = z.string().refine((text) => uuidOf(text) !== undefined, 'is not a uuid');
const uuid = anyUuid.transform((text) => uuidOf(text)!);
const id = z.string().min(1).max(255);
const className = z.string().regex(/^[A-Z0-9_]+$/);

const CUSTOM_NAME = /^CUSTOM_[A-Z0-9_]+$/;
export const isCustomName = (name: string): boolean => name.length <= 255 && CUSTOM_NAME.test(name);

const parent = { parent_provider_uuid: uuid.nullable().optional() };
const PROVIDER = z.strictObject({ name: z.string().max(200) });
export const UPDATE_PROVIDER: ByVersion<z.ZodType> = [
  ['1.0', PROVIDER],
  ['1.14', PROVIDER.extend(parent)],
];
const NEW_PROVIDER = PROVIDER.extend({ uuid: uuid.optional() });
export const CREATE_PROVIDER: ByVersion<z.ZodType> = [
  ['1.0', NEW_PROVIDER],
  ['1.14', NEW_PROVIDER.extend(parent)],
];
export interface ProviderBody {
  readonly name: string;
  readonly uuid?: string;
  readonly parent_provider_uuid?: string | null;
}

const INVENTORY = z.strictObject({
  total: count(1),
  reserved: count(0).default(0),
  min_unit: count(1).default(1),
  max_unit: count(1).default(MAX_INT),
  step_size: count(1).default(1),
  allocation_ratio: z.number().min(0).max(3.40282e38).default(1),
  resource_provider_generation: generation.optional(),
});
export const ADD_INVENTORY = INVENTORY.extend({ resource_class: className });
export const SET_INVENTORY = INVENTORY.required({ resource_provider_generation: true });
export const SET_INVENTORIES = z.strictObject({
  resource_provider_generation: generation,
  inventories: z.record(className, INVENTORY),
});
export type InventoryBody = z.infer<typeof INVENTORY>;

export const inventoriesIn = (bodies: Readonly<Record<string, InventoryBody>>): Record<string, Inventory> =>
  Object.fromEntries(Object.entries(bodies).map(([name, body]) => [name, inventoryIn(body)]));

export const inventoryIn = (body: InventoryBody): Inventory => ({
  total: body.total,
  reserved: body.reserved,
  minUnit: body.min_unit,
  maxUnit: body.max_unit,
  stepSize: body.step_size,
  allocationRatio: body.allocation_ratio,
});

const unique = (list: readonly string[]): boolean => new Set(list).size === list.length;
/** Kept as their makers spell them. */
const AGGREGATES = z.array(anyUuid).refine(unique, 'has non-unique elements');
export const SET_AGGREGATES: ByVersion<z.ZodType> = [
  ['1.1', AGGREGATES],
  ['1.19', z.strictObject({ aggregates: AGGREGATES, resource_provider_generation: generation })],
];
export type AggregatesBody = string[] | { aggregates: string[]; resource_provider_generation: number };

export const SET_TRAITS = z.strictObject({
  traits: z.array(z.string().min(1).max(255)),
  resource_provider_generation: generation,
});

export const CLASS = z.strictObject({ name: z.string().regex(CUSTOM_NAME).max(255) });

const amounts = z
  .record(className, count(1))
  .refine((r) => Object.keys(r).length > 0, 'does not have enough properties');
const some = <T extends z.ZodType>(list: T) =>
  list.refine((all) => Object.keys(all as object).length > 0, 'should be non-empty');
const ALLOCATIONS = z.record(uuid, z.strictObject({ generation: generation.optional(), resources: amounts }));
const LISTED = z
  .array(z.strictObject({ resource_provider: z.strictObject({ uuid }), resources: amounts }))
  .min(1)
  .transform((list) => Object.fromEntries(list.map((a) => [a.resource_provider.uuid, { resources: a.resources }])));

const owner = { project_id: id, user_id: id };
const V1_0 = z.strictObject({ allocations: LISTED });
const V1_8 = V1_0.extend(owner);
const ENDABLE_1_12 = z.strictObject({ allocations: ALLOCATIONS, ...owner });
const V1_28 = ENDABLE_1_12.extend({ consumer_generation: generation.nullable() });
const V1_34 = V1_28.extend({
  mappings: some(z.record(z.string(), z.array(uuid).min(1))).optional(),
});
const V1_38 = V1_34.extend({ consumer_type: className.min(1).max(255) });
export const ALLOCATE: ByVersion<z.ZodType> = [
  ['1.0', V1_0],
  ['1.8', V1_8],
  ['1.12', ENDABLE_1_12.extend({ allocations: some(ALLOCATIONS) })],
  ['1.28', V1_28],
  ['1.34', V1_34],
  ['1.38', V1_38],
];
const many = (one: z.ZodType) => some(z.record(uuid, one));
export const ALLOCATE_MANY: ByVersion<z.ZodType> = [
  ['1.13', many(ENDABLE_1_12)],
  ['1.28', many(V1_28)],
  ['1.34', many(V1_34)],
  ['1.38', many(V1_38)],
];

const RESHAPE = (allocations: z.ZodType) =>
  z.strictObject({ inventories: some(z.record(uuid, SET_INVENTORIES)), allocations });
export const RESHAPER: ByVersion<z.ZodType> = [
  ['1.30', RESHAPE(z.record(uuid, V1_28))],
  ['1.34', RESHAPE(z.record(uuid, V1_34))],
  ['1.38', RESHAPE(z.record(uuid, V1_38))],
];
export interface ReshaperBody {
  readonly inventories: Readonly<Record<string, z.infer<typeof SET_INVENTORIES>>>;
  readonly allocations: Readonly<Record<string, AllocationsBody>>;
}

export interface AllocationsBody {
  readonly allocations: Readonly<Record<string, { readonly resources: Readonly<Record<string, number>> }>>;
  readonly project_id?: string;
  readonly user_id?: string;
  readonly consumer_generation?: number | null;
  readonly consumer_type?: string;
}
