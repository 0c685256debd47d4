import { invalid } from '@omnivisor/contracts';
import type { Scalar } from '@omnivisor/eventsourcing';
import { type ImageRow, propertyText } from './image.projection.js';

type Field = keyof ImageRow & string;
/** One comparison of a list's filter. */
export interface ImageFilter {
  readonly field: Field;
  readonly condition:
    | { readonly in: readonly Scalar[] }
    | { readonly ne: Scalar }
    | { readonly contains: string }
    | { readonly gt?: Scalar; readonly gte?: Scalar; readonly lt?: Scalar; readonly lte?: Scalar };
}

export type Query = Readonly<Record<string, readonly string[]>>;

const TEXTS: Readonly<Record<string, Field>> = {
  name: 'name',
  id: 'id',
  status: 'status',
  container_format: 'containerFormat',
  disk_format: 'diskFormat',
};
const EXACT: Readonly<Record<string, Field>> = { checksum: 'checksum', os_hash_value: 'sha512', owner: 'owner' };
const NUMBERS: Readonly<Record<string, Field>> = {
  size: 'size',
  virtual_size: 'virtualSize',
  min_ram: 'minRam',
  min_disk: 'minDisk',
};
const TIMES: Readonly<Record<string, Field>> = { created_at: 'createdAt', updated_at: 'updatedAt' };
/** Parameters that are no filters. */
const OTHERS = new Set(['limit', 'marker', 'sort', 'sort_key', 'sort_dir', 'member_status', 'visibility']);
const OPERATORS = ['gt', 'gte', 'lt', 'lte', 'neq', 'eq'] as const;
const ISO = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?$/;

/** Values of an `in:` list, where a value in double quotes may have commas. */
const listed = (value: string): string[] => {
  let open = true;
  for (let i = 0; i < value.length; i++) {
    if (value[i] !== '"' || value[i - 1] === '\\') continue;
    if (open && i > 0 && value[i - 1] !== ',')
      throw invalid(`Invalid filter value ${value}. There is no comma before opening quotation mark.`);
    if (!open && i + 1 < value.length && value[i + 1] !== ',')
      throw invalid(`Invalid filter value ${value}. There is no comma after closing quotation mark.`);
    open = !open;
  }
  if (!open) throw invalid(`Invalid filter value ${value}. The quote is not closed.`);
  return [...value.matchAll(/"([^"\\]*(?:\\.[^"\\]*)*)",?|([^,]+),?|,/g)].map((m) => m[1] ?? m[2] ?? '');
};

const timeFilter = (name: string, field: Field, value: string): ImageFilter => {
  const plain = ISO.test(value);
  const colon = value.indexOf(':');
  const operator = plain || colon < 0 ? 'eq' : value.slice(0, colon);
  const text = plain || colon < 0 ? value : value.slice(colon + 1);
  // A time without a zone is in UTC.
  const time = ISO.test(text)
    ? Date.parse(/(?:Z|[+-]\d{2}:?\d{2})$/.test(text.slice(10)) ? text : zoned(text))
    : Number.NaN;
  if (Number.isNaN(time)) throw invalid(`Bad "${name}" query filter format. Use ISO 8601 DateTime notation.`);
  const at = `${new Date(time).toISOString().slice(0, 19)}Z`;
  if (operator === 'eq') return { field, condition: { in: [at] } };
  if (operator === 'neq') return { field, condition: { ne: at } };
  if (!(OPERATORS as readonly string[]).includes(operator)) throw invalid('Unable to filter on a unknown operator.');
  return { field, condition: { [operator]: at } };
};
const zoned = (text: string) => (text.length === 10 ? `${text}T00:00:00Z` : `${text}Z`);

const textFilter = (field: Field, value: string): ImageFilter => {
  const colon = value.indexOf(':');
  if (colon < 0) return { field, condition: { in: [value] } };
  const operator = value.slice(0, colon);
  const rest = value.slice(colon + 1);
  if (operator === 'in') return { field, condition: { in: listed(rest) } };
  if (operator === 'eq') return { field, condition: { in: [rest] } };
  throw invalid(`Unable to filter by unknown operator '${operator}'.`);
};

const flagFilter = (name: string, field: Field, value: string): ImageFilter => {
  const text = name === 'os_hidden' ? value.toLowerCase() : value;
  if (text !== 'true' && text !== 'false')
    throw invalid(`Invalid value '${value}' for '${name}' filter. Valid values are 'true' or 'false'.`);
  return { field, condition: { in: [text === 'true'] } };
};

const filterOf = (name: string, value: string): ImageFilter => {
  const range = /^(.+)_(min|max)$/.exec(name);
  if (range && Object.hasOwn(NUMBERS, range[1]!)) {
    if (!/^\s*[+-]?\d{1,15}\s*$/.test(value)) throw invalid('Unable to filter on a range with a non-numeric value.');
    return {
      field: NUMBERS[range[1]!]!,
      condition: range[2] === 'min' ? { gte: Number(value) } : { lte: Number(value) },
    };
  }
  if (Object.hasOwn(TIMES, name)) return timeFilter(name, TIMES[name]!, value);
  if (Object.hasOwn(TEXTS, name)) return textFilter(TEXTS[name]!, value);
  if (Object.hasOwn(EXACT, name)) return { field: EXACT[name]!, condition: { in: [value] } };
  if (Object.hasOwn(NUMBERS, name))
    return { field: NUMBERS[name]!, condition: { in: /^\d{1,15}$/.test(value) ? [Number(value)] : [] } };
  if (name === 'protected') return flagFilter(name, 'protected', value);
  return { field: 'propertyTexts', condition: { contains: propertyText(name, value) } };
};

/** Every filter of a list request but visibility. @throws DomainError `invalid` in Glance's words */
export const filtersOf = (query: Query): ImageFilter[] => {
  if (query['changes-since']) throw invalid('The "changes-since" filter is no longer available on v2.');
  const filters: ImageFilter[] = [flagFilter('os_hidden', 'hidden', query.os_hidden?.at(-1) ?? 'false')];
  for (const tag of query.tag ?? []) filters.push({ field: 'tags', condition: { contains: tag.trim() } });
  for (const [name, values] of Object.entries(query))
    if (!OTHERS.has(name) && name !== 'tag' && name !== 'os_hidden') filters.push(filterOf(name, values.at(-1)!));
  return filters;
};

/** True when a row passes a filter; the same as the read model's own comparison. */
export const passes = (row: ImageRow, { field, condition }: ImageFilter): boolean => {
  const value = row[field] as unknown;
  if ('in' in condition) return condition.in.includes(value as Scalar);
  if ('ne' in condition) return value !== condition.ne;
  if ('contains' in condition) return (value as string[]).includes(condition.contains);
  if (value === null) return false;
  const v = value as string | number;
  return (
    (condition.gt === undefined || v > condition.gt!) &&
    (condition.gte === undefined || v >= condition.gte!) &&
    (condition.lt === undefined || v < condition.lt!) &&
    (condition.lte === undefined || v <= condition.lte!)
  );
};
