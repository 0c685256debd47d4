import type { ByVersion, Microversion } from '@omnivisor/openstack';
import { z } from 'zod';

/** From which microversion on a field has which schema; `null` takes it away again. Ascending. */
export type FieldHistory = readonly (readonly [from: string, schema: z.ZodType | null])[];

const minorOf = (version: string): number => Number(version.split('.')[1]);

const stepsOf = (histories: Iterable<readonly (readonly [string, unknown])[]>): number[] => {
  const minors = new Set([1]);
  for (const history of histories) for (const [from] of history) minors.add(minorOf(from));
  return [...minors].sort((a, b) => a - b);
};

const valueAt = <T>(history: readonly (readonly [string, T])[], minor: number): T | undefined =>
  history.findLast(([from]) => minorOf(from) <= minor)?.[1];

/** One object schema per microversion in which something changed, from the history of its fields. */
export const objectByVersion = (
  fields: Readonly<Record<string, FieldHistory>>,
  wrap: (object: z.ZodObject) => z.ZodType = (object) => object,
): ByVersion<z.ZodType> =>
  stepsOf(Object.values(fields)).map((minor) => {
    const shape: Record<string, z.ZodType> = {};
    for (const [name, history] of Object.entries(fields)) {
      const schema = valueAt(history, minor);
      if (schema) shape[name] = schema;
    }
    return [`2.${minor}`, wrap(z.strictObject(shape))] as const;
  });

/** `{<key>: object}` per microversion, nothing beside it. */
export const wrapped = (key: string, fields: Readonly<Record<string, FieldHistory>>): ByVersion<z.ZodType> =>
  objectByVersion(fields, (object) => z.strictObject({ [key]: object }));

/** The first microversion in which every query refuses keys that it does not know. */
const STRICT_QUERY = '2.75';

/** A query's schema per microversion: unknown keys are ignored at first, and refused from `strict` on. */
export const queryByVersion = (
  fields: Readonly<Record<string, FieldHistory>>,
  strict: string = STRICT_QUERY,
): ByVersion<z.ZodType> => {
  const from = minorOf(strict);
  const minors = new Set([...stepsOf(Object.values(fields)), from]);
  return [...minors]
    .sort((a, b) => a - b)
    .map((minor) => {
      const shape: Record<string, z.ZodType> = {};
      for (const [name, history] of Object.entries(fields)) {
        const schema = valueAt(history, minor);
        if (schema) shape[name] = schema.optional();
      }
      return [`2.${minor}`, minor < from ? z.looseObject(shape) : z.strictObject(shape)] as const;
    });
};

/** A field of a response: the microversions that have it, and its value; `undefined` leaves it out of the JSON. */
export type ViewField<Row, Context> = readonly [
  name: string,
  from: string,
  /** The last microversion that has it; null while it lives. */
  to: string | null,
  value: (row: Row, context: Context) => unknown,
];

interface ViewAt<Row, Context> {
  readonly fields: readonly ViewField<Row, Context>[];
  /** An answer without values. */
  readonly blank: Readonly<Record<string, unknown>>;
}

/** A response object from a table of its fields. */
export class View<Row, Context = undefined> {
  private readonly compiled = new Map<number, ViewAt<Row, Context>>();

  constructor(private readonly fields: readonly ViewField<Row, Context>[]) {}

  render(version: Microversion, row: Row, context: Context): Record<string, unknown> {
    const { fields, blank } = this.at(version.minor);
    // An object that grows field by field ends as a hash table: slower to fill, and to write as JSON.
    const out: Record<string, unknown> = { ...blank };
    for (const [name, , , value] of fields) out[name] = value(row, context);
    return out;
  }

  private at(minor: number): ViewAt<Row, Context> {
    let known = this.compiled.get(minor);
    if (!known) {
      const fields = this.fields.filter(
        ([, from, to]) => minorOf(from) <= minor && (to === null || minor <= minorOf(to)),
      );
      // The parser makes objects of a fixed shape, whatever their size.
      const blank = JSON.parse(`{${fields.map(([name]) => `${JSON.stringify(name)}:null`)}}`);
      known = { fields, blank };
      this.compiled.set(minor, known);
    }
    return known;
  }
}

/** A query without keys: what is in it is ignored, until a microversion refuses it. */
export const strictFrom = (version: string): ByVersion<z.ZodType> => [
  ['2.1', z.looseObject({})],
  [version, z.strictObject({})],
];
