import { invalid } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';

/** The most rows of one page. */
export const MAX_PAGE = 1_000;

export type Query = Readonly<Record<string, readonly string[] | undefined>>;

export const first = (query: Query, key: string): string | undefined => query[key]?.[0];
export const last = (query: Query, key: string): string | undefined => query[key]?.at(-1);

/** How many rows a page has: what was asked for, at most `MAX_PAGE`. */
export const pageSize = (query: Query): number => {
  const asked = first(query, 'limit');
  if (asked === undefined) return MAX_PAGE;
  if (!/^[0-9]+$/.test(asked)) throw invalid(`limit must be an integer: ${asked.slice(0, 64)}`);
  return Math.min(Number(asked), MAX_PAGE);
};

/** The page of `rows` after the row with key `marker`. @throws DomainError `invalid` when there is no such row */
export const pageOf = <Row>(rows: readonly Row[], query: Query, keyOf: (row: Row) => string): Row[] => {
  const marker = first(query, 'marker');
  let start = 0;
  if (marker !== undefined) {
    start = rows.findIndex((row) => keyOf(row) === marker) + 1;
    if (start === 0) throw markerNotFound(marker);
  }
  return rows.slice(start, start + pageSize(query));
};

export const markerNotFound = (marker: string) => invalid(`marker [${marker.slice(0, 255)}] not found`);

/** `{<name>_links: [...]}` when the page is full, with the query of this request and the new marker. */
export const nextLink = (
  call: Pick<Call, 'publicUrl' | 'path' | 'query'>,
  name: string,
  page: { readonly length: number },
  lastKey: string | undefined,
  key = `${name}_links`,
): Record<string, unknown> => {
  const query = call.query as Query;
  if (lastKey === undefined || page.length === 0 || page.length < pageSize(query)) return {};
  const [path = '', search = ''] = call.path.split('?', 2);
  const parameters = new URLSearchParams(search);
  parameters.set('marker', lastKey);
  return { [key]: [{ rel: 'next', href: `${call.publicUrl}${path}?${parameters}` }] };
};

/** `self` and `bookmark` links of a resource. */
export const linksOf = (publicUrl: string, collection: string, id: string) => [
  { rel: 'self', href: `${publicUrl}/v2.1/${collection}/${id}` },
  { rel: 'bookmark', href: `${publicUrl}/${collection}/${id}` },
];

/** Times without fractions, as Nova prints most of them: `2026-01-31T12:00:00Z`. */
export const isoSeconds = (instant: string): string => `${instant.slice(0, 19)}Z`;
/** Times as Python's naive datetime prints them: `2026-01-31T12:00:00.000000`. */
export const isoNaive = (instant: string): string => `${instant.slice(0, 23)}000`;
