import { DomainError, type ResourceAmounts } from '@omnivisor/contracts';
import type { ProviderView, World } from '../core/world.js';
import { capacityOf } from '../scheduling/provider/provider.js';
import { isClass, isTrait } from './catalog.js';

const BAD_VALUE = 'placement.query.bad_value';
export const badQuery = (message: string, code = BAD_VALUE) =>
  new DomainError('invalid', message, { details: { code } });

type Query = Readonly<Record<string, readonly string[]>>;

/** A wish about a provider: each of these must hold. */
export interface ProviderWish {
  readonly resources: ResourceAmounts;
  /** Each inner list: at least one of them. */
  readonly required: readonly (readonly string[])[];
  readonly forbidden: readonly string[];
  readonly memberOf: readonly (readonly string[])[];
  readonly notMemberOf: readonly string[];
  readonly inTree: string | null;
}

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

export const resourcesIn = (text: string, world: World, key = 'resources'): ResourceAmounts => {
  const form = `Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024. Got: ${text}.`;
  const amounts: Record<string, number> = {};
  if (text.trim() === '') throw badQuery(`Badly formed resources parameter. ${form} Empty string.`);
  for (const part of text.split(',')) {
    const [name, amount, ...rest] = part.split(':');
    if (!name || amount === undefined || rest.length > 0) throw badQuery(`Badly formed resources parameter. ${form}`);
    if (!/^\d+$/.test(amount))
      throw badQuery(`Requested resource ${name} expected positive integer amount. Got: ${amount}.`);
    if (Number(amount) < 1) throw badQuery(`Requested resource ${name} requires amount >= 1. Got: ${amount}.`);
    if (!isClass(world, name))
      throw badQuery(`Invalid resource class in ${key} parameter: No such resource class ${name}.`);
    amounts[name] = Number(amount);
  }
  return amounts;
};

/** @param rules what the microversion allows */
export const traitsIn = (values: readonly string[], world: World, rules: { forbidden: boolean; any: boolean }) => {
  const required: string[][] = [];
  const forbidden: string[] = [];
  const known = (name: string) => {
    if (!isTrait(world, name)) throw badQuery(`No such trait(s): ${name}.`, 'placement.undefined_code');
    return name;
  };
  for (const text of rules.any ? values : values.slice(-1)) {
    if (rules.any && text.startsWith('in:')) {
      required.push(text.slice(3).split(',').map(known));
      continue;
    }
    for (const part of text.split(',')) {
      const name = part.trim();
      if (name === '' || name === '!' || (!rules.forbidden && name.startsWith('!')))
        throw badQuery(
          `Invalid query string parameters: Expected 'required' parameter value of the form: HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: ${text}`,
        );
      if (name.startsWith('!')) forbidden.push(known(name.slice(1)));
      else required.push([known(name)]);
    }
  }
  const clash = required.find((any) => any.every((t) => forbidden.includes(t)));
  if (clash)
    throw badQuery(
      `Conflicting required and forbidden traits found in the following traits keys: required: (${clash})`,
    );
  return { required, forbidden };
};

export const aggregatesIn = (values: readonly string[], rules: { repeat: boolean; forbidden: boolean }) => {
  const memberOf: string[][] = [];
  const notMemberOf: string[] = [];
  for (const given of rules.repeat ? values : values.slice(-1)) {
    const not = given.startsWith('!');
    if (not && !rules.forbidden)
      throw badQuery(`Forbidden member_of parameters are not supported in the specified microversion; got: ${given}.`);
    const text = not ? given.slice(1) : given;
    const uuids = text.startsWith('in:') ? text.slice(3).split(',') : [text];
    for (const uuid of uuids)
      if (!UUID.test(uuid))
        throw badQuery(
          `Invalid query string parameters: Expected 'member_of' parameter to contain valid UUID(s). Got: ${uuid}`,
        );
    if (not) notMemberOf.push(...uuids);
    else memberOf.push(uuids);
  }
  return { memberOf, notMemberOf };
};

export const uuidIn = (text: string, key: string): string => {
  if (!UUID.test(text))
    throw badQuery(`Invalid query string parameters: Expected '${key}' parameter to be a valid UUID. Got: ${text}`);
  return text.toLowerCase();
};

/** @param suffix of a granular request group; empty for the main one */
export const wishIn = (
  query: Query,
  suffix: string,
  world: World,
  since: (version: string) => boolean,
): ProviderWish => {
  const values = (key: string): readonly string[] => query[`${key}${suffix}`] ?? [];
  const resources = values('resources').at(-1);
  const inTree = values('in_tree').at(-1);
  return {
    resources: resources === undefined ? {} : resourcesIn(resources, world, `resources${suffix}`),
    ...traitsIn(values('required'), world, { forbidden: since('1.22'), any: since('1.39') }),
    ...aggregatesIn(values('member_of'), { repeat: since('1.24'), forbidden: since('1.32') }),
    inTree: inTree === undefined ? null : uuidIn(inTree, 'in_tree'),
  };
};

export const hasRoom = (provider: ProviderView, resources: ResourceAmounts): boolean => {
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

/** Our trees have one provider each: a wish about the tree is a wish about its root. */
export const grants = (provider: ProviderView, wish: ProviderWish): boolean =>
  (wish.inTree === null || wish.inTree === provider.id) &&
  wish.required.every((any) => any.some((t) => provider.traits.includes(t))) &&
  !wish.forbidden.some((t) => provider.traits.includes(t)) &&
  wish.memberOf.every((any) => any.some((a) => provider.aggregates.includes(a))) &&
  !wish.notMemberOf.some((a) => provider.aggregates.includes(a)) &&
  hasRoom(provider, wish.resources);
