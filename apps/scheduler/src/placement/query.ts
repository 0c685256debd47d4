import { DomainError, type ResourceAmounts } from '@omnivisor/contracts';
import type { World } from '../core/world.js';
import { capacityOf } from '../scheduling/provider/provider.js';
import { isClass, isTrait } from './catalog.js';
import { type PlacementProvider, uuidOf } from './providers.js';

export const badQuery = (message: string, code?: string) =>
  new DomainError('invalid', message, code === undefined ? {} : { details: { code } });

type Query = Readonly<Record<string, readonly string[]>>;
type Since = (version: string) => boolean;

/** A wish about a provider: each of these must hold. */
export interface ProviderWish {
  readonly resources: ResourceAmounts;
  /** Each inner list: at least one of them. */
  readonly required: readonly (readonly string[])[];
  readonly forbidden: readonly string[];
  readonly memberOf: readonly (readonly string[])[];
  readonly notMemberOf: readonly string[];
  /** A provider of the tree that is meant; null for any. */
  readonly inTree: string | null;
}

const FORM =
  'Badly formed resources parameter. Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024.';

export const resourcesIn = (text: string, world: World): ResourceAmounts => {
  if (text.trim() === '') throw badQuery(`${FORM} Got: empty string.`);
  const amounts: Record<string, number> = {};
  for (const part of text.split(',')) {
    const [name, amount, ...rest] = part.split(':');
    if (name === undefined || amount === undefined || rest.length > 0) throw badQuery(`${FORM} Got: ${part}.`);
    if (!/^\s*[+-]?\d+\s*$/.test(amount))
      throw badQuery(`Requested resource ${name} expected positive integer amount. Got: ${amount}.`);
    if (Number(amount) < 1) throw badQuery(`Requested resource ${name} requires amount >= 1. Got: ${Number(amount)}.`);
    amounts[name] = Number(amount);
  }
  const unknown = Object.keys(amounts).find((name) => !isClass(world, name));
  if (unknown !== undefined)
    throw badQuery(`Invalid resource class in resources parameter: No such resource class ${unknown}.`);
  return amounts;
};

const expected = (form: string, got: string) =>
  badQuery(`Invalid query string parameters: Expected 'required' parameter value of the form: ${form}. Got${got}`);

const anyOf = (text: string, allowed: boolean): string[] => {
  if (!allowed)
    throw badQuery(
      `Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since microversion 1.39. Got: ${text}`,
    );
  const any = text
    .slice(3)
    .split(',')
    .map((t) => t.trim());
  if (any.includes('')) throw expected('in:HW_CPU_X86_VMX,CUSTOM_MAGIC', ` an empty trait in: ${text}`);
  if (any.some((t) => t.startsWith('!')))
    throw badQuery(
      `Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' does not support forbidden traits. Got: ${text}`,
    );
  return any;
};

/** The traits of a `required` key. @param rules what the microversion allows */
export const traitsIn = (values: readonly string[], rules: { readonly forbidden: boolean; readonly any: boolean }) => {
  const required: string[][] = [];
  const forbidden: string[] = [];
  for (const text of rules.any ? values : values.slice(-1)) {
    if (text.startsWith('in:')) {
      required.push(anyOf(text, rules.any));
      continue;
    }
    const all = text.split(',').map((t) => t.trim());
    const not = all.filter((t) => t.startsWith('!')).map((t) => t.replace(/^!+/, ''));
    const form = rules.forbidden ? 'HW_CPU_X86_VMX,!CUSTOM_MAGIC' : 'HW_CPU_X86_VMX,CUSTOM_MAGIC';
    if ([...all, ...not].includes('')) throw expected(form, ` an empty trait in: ${text}`);
    if (not.length > 0 && !rules.forbidden) throw expected('HW_CPU_X86_VMX,CUSTOM_MAGIC', `: ${text}`);
    forbidden.push(...not);
    required.push(...all.filter((t) => !t.startsWith('!')).map((t) => [t]));
  }
  return { required, forbidden };
};

/** Texts that name a trait nobody knows. */
export const unknownTraits = (world: World, { required, forbidden }: Pick<ProviderWish, 'required' | 'forbidden'>) =>
  [...new Set([...required.flat(), ...forbidden])].filter((name) => !isTrait(world, name)).sort();

const aggregatesIn = (values: readonly string[], suffix: string, since: Since) => {
  const memberOf: string[][] = [];
  const notMemberOf: string[] = [];
  if (values.length > 1 && !since('1.24')) throw badQuery(`Multiple member_of${suffix} parameters are not supported`);
  for (const text of values) {
    if (text.includes(',') && !/^!?in:/.test(text))
      throw badQuery(
        `Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid microversion. Got: ${text}`,
      );
    const not = text.startsWith('!');
    const uuids = text.replace(/^!?(?:in:)?/, '').split(',');
    const bad = uuids.find((uuid) => uuidOf(uuid) === undefined);
    if (bad !== undefined)
      throw badQuery(
        `Invalid query string parameters: Expected 'member_of' parameter to contain valid UUID(s). Got: ${bad}`,
      );
    if (not && !since('1.32'))
      throw badQuery(`Forbidden member_of${suffix} parameters are not supported in the specified microversion`);
    if (not) notMemberOf.push(...uuids);
    else memberOf.push(uuids);
  }
  return { memberOf, notMemberOf };
};

export const treeIn = (text: string): string => {
  const id = uuidOf(text.trim());
  if (id !== undefined) return id;
  throw badQuery(`Invalid query string parameters: Expected 'in_tree' parameter to be a format of uuid. Got: ${text}`);
};

/** @param suffix of a granular request group; empty for the main one */
export const wishIn = (query: Query, suffix: string, world: World, since: Since): ProviderWish => {
  const values = (key: string): readonly string[] => query[`${key}${suffix}`] ?? [];
  const resources = values('resources').at(-1);
  const inTree = values('in_tree').at(-1);
  return {
    resources: resources === undefined ? {} : resourcesIn(resources, world),
    ...traitsIn(values('required'), { forbidden: since('1.22'), any: since('1.39') }),
    ...aggregatesIn(values('member_of'), suffix, since),
    inTree: inTree === undefined ? null : treeIn(inTree),
  };
};

export const hasRoom = (provider: PlacementProvider, resources: ResourceAmounts): boolean => {
  for (const name in resources) {
    const amount = resources[name]!;
    const inventory = provider.inventories[name];
    if (!inventory) return false;
    const { minUnit, maxUnit, stepSize } = inventory;
    const free = capacityOf(inventory) - (provider.used[name] ?? 0);
    if (amount > free || amount < minUnit || amount > maxUnit || amount % stepSize !== 0) return false;
  }
  return true;
};

export const hasTraits = (traits: readonly string[], wish: Pick<ProviderWish, 'required' | 'forbidden'>): boolean =>
  wish.required.every((any) => any.some((t) => traits.includes(t))) && !wish.forbidden.some((t) => traits.includes(t));

export const isMember = (
  aggregates: readonly string[],
  wish: Pick<ProviderWish, 'memberOf' | 'notMemberOf'>,
): boolean =>
  wish.memberOf.every((any) => any.some((a) => aggregates.includes(a))) &&
  !wish.notMemberOf.some((a) => aggregates.includes(a));

/** A provider that grants a wish all by itself, wherever it stands. */
export const grants = (provider: PlacementProvider, wish: ProviderWish): boolean =>
  hasTraits(provider.traits, wish) && isMember(provider.aggregates, wish) && hasRoom(provider, wish.resources);
