import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';

/** The parameter types that bodies of the Compute API are made of. Source: its JSON schemas, 2.1 to 2.104. */

const MAX_INT = 0x7fffffff;
const CONTROL = /[\p{C}\p{Zl}\p{Zp}]/u;
/** Says of a value that it is not in a format, as JSON Schema's validator does. */
const notA = (format: string) => ({
  error: (issue: { readonly input?: unknown }) => `'${String(issue.input).slice(0, 255)}' is not a '${format}'`,
});
const printable = (text: string): boolean => !CONTROL.test(text);

/** A display name: printable, 1 to 255 characters, no space at either end. */
export const name = z
  .string()
  .min(1)
  .max(255)
  .refine((text) => printable(text) && !/^\p{Zs}|\p{Zs}$/u.test(text), {
    error: 'printable characters. Can not start or end with whitespace.',
  });

export const description = z.string().max(255).refine(printable, { error: 'printable characters' }).nullable();

const TRUE = ['True', 'TRUE', 'true', '1', 'ON', 'On', 'on', 'YES', 'Yes', 'yes'] as const;
const FALSE = ['False', 'FALSE', 'false', '0', 'OFF', 'Off', 'off', 'NO', 'No', 'no'] as const;
/** A boolean, or one of the texts that stand for one. */
export const boolean = z
  .union([z.boolean(), z.enum([...TRUE, ...FALSE])])
  .transform((value) => value === true || (TRUE as readonly unknown[]).includes(value));

const digits = /^[0-9]+$/;
/** An integer or its digits as text, within bounds. */
export const integer = (min: number, max = MAX_INT) =>
  z.preprocess(
    (value) => (typeof value === 'string' && digits.test(value) ? Number(value) : value),
    z.int().min(min).max(max),
  );
export const positiveInteger = integer(1);
export const nonNegativeInteger = integer(0);
/** A limit of a quota: -1 means unlimited. */
export const quotaLimit = z.preprocess(
  (value) => (typeof value === 'string' && /^-?[0-9]+$/.test(value) ? Number(value) : value),
  z.int().min(-1).max(MAX_INT),
);

/** A UUID in any of the forms Python reads, as its canonical text. */
export const uuid = z
  .string()
  .refine((text) => /^[0-9a-f]{32}$/i.test(text.replace(/^urn:|uuid:|[{}-]/g, '')), notA('uuid'))
  .transform((text) => {
    const hex = text.replace(/^urn:|uuid:|[{}-]/g, '').toLowerCase();
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  });

export const ipv4 = z.string().refine((text) => isIPv4(text), notA('ipv4'));
/** Kept in the short form of RFC 5952, as Nova shows it. */
export const ipv6 = z
  .string()
  .refine((text) => isIPv6(text) && !text.includes('%'), notA('ipv6'))
  .transform((text) => ipaddr.parse(text).toString());
export const ipAddress = z.string().refine((text) => isIPv4(text) || isIPv6(text), notA('ip address'));

export const metadataKey = z.string().regex(/^[a-zA-Z0-9\-_:. ]{1,255}$/);
export const metadataValue = z.string().max(255);
/** Keys that do not fit are named as properties that are not allowed. */
export const metadata = z.record(z.string(), metadataValue).superRefine((value, context) => {
  const bad = Object.keys(value).filter((key) => !metadataKey.safeParse(key).success);
  if (bad.length > 0)
    context.addIssue({
      code: 'custom',
      message: `Additional properties are not allowed (${bad.map((k) => `'${k}'`).join(', ')} ${bad.length > 1 ? 'were' : 'was'} unexpected)`,
    });
});

export const diskConfig = z.enum(['AUTO', 'MANUAL']);
/** A leaf host name. */
export const hostname = z
  .string()
  .min(2)
  .max(63)
  .regex(/^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$/);
export const fqdn = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[a-zA-Z0-9\-._]*$/);
export const projectId = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[a-zA-Z0-9-]*$/);
export const userId = projectId;

export const tag = z
  .string()
  .min(1)
  .max(60)
  .regex(/^[^,/]*$/);
export const MAX_TAGS = 50;
export const tags = z
  .array(tag)
  .max(MAX_TAGS)
  .refine((list) => new Set(list).size === list.length, { error: 'has non-unique elements' });

export const base64 = z
  .string()
  .max(65_535)
  .refine(
    (text) => /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text) && text.replace(/\s/g, '').length % 4 === 0,
    notA('base64'),
  );

/** The id of a flavor, or its URL. */
export const flavorRef = z.union([z.string().min(1).max(255), z.int()]).transform(String);
/** Files to put into a guest. */
export const personality = z.array(z.strictObject({ path: z.string(), contents: base64 }));
export const trustedCertificates = z.array(z.string().min(1)).min(1).max(50).nullable();

/** Query values: any number of texts; Nova reads the last one of most, the first of some. */
export const anyText = z.array(z.string());
export const single = z.array(z.string()).max(1);
export const limit = z.array(
  z
    .string()
    .regex(/^[0-9]*$/)
    .min(1),
);
export const dateTime = z.array(z.string().refine((text) => parseTime(text) !== null, notA('date-time')));

/** An ISO 8601 time as OpenStack reads it: without a zone it is UTC. Null when it is none. */
export const parseTime = (text: string): string | null => {
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)\s*(Z|[+-]\d{2}:?\d{2})?)?$/i.exec(
    text.trim(),
  );
  if (!match) return null;
  const zone = match[3] ?? 'Z';
  const time = Date.parse(
    `${match[1]}T${(match[2] ?? '00:00:00').replace(',', '.')}${zone.replace(/^([+-]\d{2})(\d{2})$/, '$1:$2')}`,
  );
  return Number.isNaN(time) ? null : new Date(time).toISOString();
};
