import type { z } from 'zod';
import { definitionOf } from './events/catalog.js';

/** A personal field of an event's data. */
export interface PersonalField {
  /** Names from the data inwards. */
  readonly path: readonly string[];
  /** What stands there for whoever has not the key: of the field's own type. */
  readonly erased: unknown;
}

/** What a personal text reads as without its key. */
export const ERASED = 'erased';

type Definition = z.core.$ZodTypeDef & {
  readonly innerType?: z.ZodType;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
};
const definition = (schema: z.ZodType) => schema.def as Definition;

const standIn = (schema: z.ZodType): unknown => {
  const { type, innerType } = definition(schema);
  if (innerType) return standIn(innerType);
  if (type === 'string') return ERASED;
  if (type === 'record') return {};
  if (type === 'array') return [];
  throw new Error(`nothing stands for a personal field of the type ${type}`);
};

const walk = (schema: z.ZodType, path: readonly string[]): PersonalField[] => {
  if (schema.meta()?.personal === true) return [{ path, erased: standIn(schema) }];
  const { innerType, shape } = definition(schema);
  if (innerType) return walk(innerType, path);
  return Object.entries(shape ?? {}).flatMap(([name, inner]) => walk(inner, [...path, name]));
};

const known = new Map<string, readonly PersonalField[]>();

/** The personal fields of an event type; none for a type that this release does not know. */
export const personalFieldsOf = (type: string): readonly PersonalField[] => {
  let fields = known.get(type);
  if (!fields) {
    const schema = definitionOf(type)?.data;
    fields = schema ? walk(schema, []) : [];
    known.set(type, fields);
  }
  return fields;
};

type Data = Readonly<Record<string, unknown>>;

/** @returns undefined where there is nothing, or nothing that says anything */
const valueAt = (data: unknown, path: readonly string[]): unknown => {
  const value = path.reduce<unknown>((inner, name) => (inner as Data | null | undefined)?.[name], data);
  return value === null || value === '' ? undefined : value;
};

const withValue = (data: Data, [name, ...rest]: readonly string[], value: unknown): Data => ({
  ...data,
  [name!]: rest.length === 0 ? value : withValue(data[name!] as Data, rest, value),
});

/** Personal values by path, its names joined by dots. */
export type PersonalValues = Readonly<Record<string, unknown>>;

/** The data of an event as it reads without its personal fields, and these; null when it has none. */
export const splitPersonal = (type: string, data: unknown): { rest: Data; values: PersonalValues } | null => {
  let rest = data as Data;
  const values: Record<string, unknown> = {};
  for (const { path, erased } of personalFieldsOf(type)) {
    const value = valueAt(data, path);
    if (value === undefined || JSON.stringify(value) === JSON.stringify(erased)) continue;
    rest = withValue(rest, path, erased);
    values[path.join('.')] = value;
  }
  return rest === data ? null : { rest, values };
};

/** @param values as `splitPersonal` gave them, in this or another release */
export const joinPersonal = (rest: unknown, values: PersonalValues): Data =>
  Object.entries(values).reduce((data, [path, value]) => withValue(data, path.split('.'), value), rest as Data);
