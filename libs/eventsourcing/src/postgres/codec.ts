import { createHash } from 'node:crypto';

/**
 * PostgreSQL keeps neither U+0000 nor half a surrogate pair; both may come from a caller. They become an escape
 * character and four hexadecimal digits, as do the escape characters themselves; so chosen that texts keep their order.
 */
const LOW = '\u0001';
const HIGH = '\ufffe';
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
const NEEDS_ESCAPE = /[\u0000\u0001\ufffe]|\p{Surrogate}/gu;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const ESCAPED = /[\u0001\ufffe]([0-9a-f]{4})/g;

export const storedText = (text: string): string =>
  text.replace(NEEDS_ESCAPE, (char) => (char <= LOW ? LOW : HIGH) + char.charCodeAt(0).toString(16).padStart(4, '0'));

export const originalText = (text: string): string =>
  text.includes(LOW) || text.includes(HIGH)
    ? text.replace(ESCAPED, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    : text;

const mapTexts = (value: unknown, change: (text: string) => string): unknown => {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [change(key), mapTexts(item, change)]));
};

/** A document as the JSON text that is stored. */
export const encodeDocument = (row: object): string => {
  const text = JSON.stringify(row);
  // JSON.stringify writes what must be escaped as \u0000 and \udxxx; an escaped backslash before a u looks alike.
  return text.includes(HIGH) || /\\u(000[01]|d[89a-f])/.test(text)
    ? JSON.stringify(mapTexts(JSON.parse(text), storedText))
    : text;
};

export const decodeDocument = <Row>(text: string): Row => {
  const row = JSON.parse(text) as Row;
  return text.includes('\\u0001') || text.includes(HIGH) ? (mapTexts(row, originalText) as Row) : row;
};

const MAX_BYTES = 600;
const KEPT = 140;

/** An index entry has room for 2,700 bytes: long texts sort by their first 140 characters. Same as `scalar()` in SQL. */
const shortened = (text: string): string =>
  text.length * 3 > MAX_BYTES && Buffer.byteLength(text) > MAX_BYTES
    ? [...text].slice(0, KEPT).join('') + createHash('sha256').update(text).digest('hex')
    : text;

const numberBytes = Buffer.alloc(8);
const numberText = (value: number): string => {
  numberBytes.writeDoubleBE(value === 0 ? 0 : value);
  const bits = numberBytes.readBigUInt64BE();
  const sortable = value < 0 ? bits ^ 0xffff_ffff_ffff_ffffn : bits | 0x8000_0000_0000_0000n;
  return sortable.toString(16).padStart(16, '0');
};

/** A value as a text whose byte order is the order of `compareScalars`; null stays null. Same as `scalar()` in SQL. */
export const scalarText = (value: unknown): string | null => {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return shortened(`1${storedText(value)}`);
  if (typeof value === 'number') return `2${numberText(value)}`;
  if (typeof value === 'boolean') return value ? '3t' : '3f';
  return '4';
};

/** @param schema quoted */
export const scalarFunction = (schema: string): string => `
create or replace function ${schema}.scalar(v json) returns text language sql immutable parallel safe as $$
  select case json_typeof(v)
    when 'string' then (select case when octet_length(t) > ${MAX_BYTES}
      then left(t, ${KEPT}) || encode(sha256(convert_to(t, 'UTF8')), 'hex') else t end from (select '1' || (v #>> '{}') t) s)
    when 'number' then (select '2' || case when n >= 0
      then encode(set_byte(float8send(n), 0, get_byte(float8send(n), 0) | 128), 'hex')
      else lpad(to_hex((~ ('x' || encode(float8send(n), 'hex'))::bit(64))::bigint), 16, '0') end
      from (select (v #>> '{}')::float8 n) s)
    when 'boolean' then case when (v #>> '{}') = 'true' then '3t' else '3f' end
    when 'null' then null
    when 'object' then '4'
    when 'array' then '4'
  end $$`;
