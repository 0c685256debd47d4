import { invalid } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import { z } from 'zod';

/** The root that all services share, as this client sees it. */
export const rootOf = (call: Call): string => call.publicUrl.slice(0, -'/identity'.length);

export const selfLink = (call: Call, path: string) => ({ self: `${call.publicUrl}/v3/${path}` });

/** `{projects: […], links: {…}}`: a list as Keystone frames it. */
export const collection = (call: Call, name: string, items: readonly unknown[]) => ({
  [name]: items,
  links: { next: null, self: call.publicUrl + call.path, previous: null },
});

const COMPARISONS: Record<string, (value: string, wanted: string) => boolean> = {
  contains: (v, w) => v.includes(w),
  icontains: (v, w) => v.toLowerCase().includes(w.toLowerCase()),
  startswith: (v, w) => v.startsWith(w),
  istartswith: (v, w) => v.toLowerCase().startsWith(w.toLowerCase()),
  endswith: (v, w) => v.endsWith(w),
  iendswith: (v, w) => v.toLowerCase().endsWith(w.toLowerCase()),
};

/** Keystone's filters: `name=`, `enabled=`, `name__contains=`, on the fields named; unknown ones filter nothing. */
export const filtered = <T extends object>(call: Call, items: readonly T[], fields: readonly string[]): T[] => {
  let result = [...items];
  for (const [key, values] of Object.entries(call.query)) {
    const [field = '', comparison] = key.split('__', 2);
    if (!fields.includes(field)) continue;
    const wanted = values.at(-1)!;
    const text = (item: T) => {
      const value = (item as Record<string, unknown>)[field];
      return value === null || value === undefined ? '' : String(value);
    };
    if (comparison !== undefined) {
      const compare = COMPARISONS[comparison];
      if (compare) result = result.filter((i) => compare(text(i), wanted));
    } else if (field === 'enabled') {
      const on = truthy(wanted);
      result = result.filter((i) => text(i) === String(on));
    } else result = result.filter((i) => text(i) === wanted);
  }
  return result;
};

/** Keystone reads a query flag without a value as true. */
export const truthy = (value: string | undefined): boolean =>
  value !== undefined && !['0', 'false', 'f', 'no', 'n', 'off'].includes(value.toLowerCase());

export const flag = (call: Call, name: string): boolean => truthy(call.query[name]?.at(-1));
export const one = (call: Call, name: string): string | undefined => call.query[name]?.at(-1);

/** A name as Keystone takes it: 1 to 255 characters, not only blanks. */
export const Name = z.string().min(1).max(255).regex(/\S+/);
/** Names of projects and domains are shorter. */
export const ShortName = Name.max(64);
export const Id = z.string().regex(/^[a-zA-Z0-9-]{1,64}$/);
export const Enabled = z.boolean();
export const Options = z.record(z.string(), z.unknown());
export const Tags = z
  .array(
    z
      .string()
      .min(1)
      .max(255)
      .regex(/^[^,/]*$/),
  )
  .max(80);

const MAX_EXTRA_BYTES = 16 * 1024;

/** What the caller sent beyond the known fields; kept as it is. @throws DomainError `invalid` when it is too much */
export const extraOf = (body: object, known: readonly string[]): Record<string, unknown> => {
  const extra = Object.fromEntries(Object.entries(body).filter(([key]) => !known.includes(key)));
  if (Buffer.byteLength(JSON.stringify(extra)) > MAX_EXTRA_BYTES)
    throw invalid(`The additional attributes must not exceed ${MAX_EXTRA_BYTES} bytes.`);
  return extra;
};

/** Without the fields that are not there. */
export const given = <T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as never;
