import type { RowReader, Table } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';
import { badRequest, invalidInput } from './errors.js';

export type View = Record<string, unknown>;

/** A kind of resource as its lists and single views are served. */
export interface Kind<Row extends object> {
  readonly singular: string;
  readonly plural: string;
  readonly table: Table<Row>;
  readonly notFound: (id: string) => Error;
  /** All that the caller may see at most; the policy says which of them it does. */
  readonly candidates: (rows: RowReader, call: Call) => Promise<readonly Row[]>;
  /** What the policy judges. Keys such as `network:project_id` come from the resource's surroundings. */
  readonly target: (rows: RowReader, row: Row) => Promise<View>;
  readonly view: (rows: RowReader, row: Row) => Promise<View>;
  /** Attributes that only some may see, with the rule that says who. */
  readonly guarded?: Readonly<Record<string, string>>;
}

const CONTROL = new Set(['fields', 'limit', 'marker', 'page_reverse', 'sort_key', 'sort_dir']);
const TAGS = new Set(['tags', 'tags-any', 'not-tags', 'not-tags-any']);

export const owned = (projectId: string): View => ({ project_id: projectId, tenant_id: projectId });

/** The row, when the caller may see it. @throws DomainError `notFound` otherwise: foreign things do not exist */
export const visible = async <Row extends object>(
  kind: Kind<Row>,
  rows: RowReader,
  call: Call,
  id: string,
): Promise<Row> => {
  const row = await rows.get(kind.table, id);
  if (!row || !call.can(`get_${kind.singular}`, await kind.target(rows, row))) throw kind.notFound(id);
  return row;
};

/** The row, when the caller may do this to it; 404 for what it cannot see, 403 for what it can. */
export const permitted = async <Row extends object>(
  kind: Kind<Row>,
  rows: RowReader,
  call: Call,
  id: string,
  verb: 'update' | 'delete',
): Promise<Row> => {
  const row = await visible(kind, rows, call, id);
  call.enforce(`${verb}_${kind.singular}`, await kind.target(rows, row));
  return row;
};

const fieldsOf = (call: Call): readonly string[] => (call.query.fields ?? []).flatMap((f) => f.split(','));

/** The view without what the caller may not see, and only the fields it asked for. */
export const present = async <Row extends object>(
  kind: Kind<Row>,
  rows: RowReader,
  call: Call,
  row: Row,
  fields: readonly string[] = fieldsOf(call),
): Promise<View> => {
  const view = await kind.view(rows, row);
  const guarded = Object.entries(kind.guarded ?? {});
  if (guarded.length > 0) {
    const target = await kind.target(rows, row);
    for (const [name, rule] of guarded) if (!call.can(rule, target)) delete view[name];
  }
  if (fields.length === 0) return view;
  return Object.fromEntries(Object.entries(view).filter(([name]) => fields.includes(name)));
};

export const show = async <Row extends object>(kind: Kind<Row>, rows: RowReader, call: Call, id: string) => ({
  [kind.singular]: await present(kind, rows, call, await visible(kind, rows, call, id)),
});

const matchesOne = (value: unknown, wanted: string): boolean => {
  if (Array.isArray(value)) return value.some((v) => matchesOne(v, wanted));
  if (typeof value === 'boolean') return /^(true|1)$/i.test(wanted) === value;
  if (value === null || value === undefined) return wanted === '';
  if (typeof value === 'object') {
    const [key = '', ...rest] = wanted.split('=');
    const inner = (value as View)[key.replace(/_substr$/, '')];
    const text = rest.join('=');
    return key.endsWith('_substr') ? `${inner}`.includes(text) : inner !== undefined && `${inner}` === text;
  }
  return `${value}` === wanted;
};

const matchesTags = (tags: readonly string[], query: Call['query']): boolean => {
  const given = (name: string) => query[name]?.flatMap((t) => t.split(',')) ?? null;
  const [all, any, notAll, notAny] = ['tags', 'tags-any', 'not-tags', 'not-tags-any'].map(given);
  return (
    (!all || all.every((t) => tags.includes(t))) &&
    (!any || any.some((t) => tags.includes(t))) &&
    !notAll?.every((t) => tags.includes(t)) &&
    !notAny?.some((t) => tags.includes(t))
  );
};

/** @throws DomainError `invalid` for a filter by a truth that is neither true nor false */
const checkTruths = (known: View, query: Call['query']): void => {
  for (const [name, wanted] of Object.entries(query))
    if (typeof known[name] === 'boolean')
      for (const value of wanted)
        if (value !== '' && !/^(true|false|1|0)$/i.test(value))
          throw invalidInput(`'${value.slice(0, 255)}' cannot be converted to boolean`);
};

const matches = (view: View, query: Call['query']): boolean => {
  for (const [name, wanted] of Object.entries(query)) {
    if (CONTROL.has(name) || TAGS.has(name)) continue;
    const key = name === 'tenant_id' ? 'project_id' : name;
    // An attribute that the resource does not have does not narrow the list.
    if (!Object.hasOwn(view, key)) continue;
    const value = view[key];
    const pairs = Array.isArray(value) && value.some((v) => v !== null && typeof v === 'object');
    // Pairs such as `fixed_ips=ip_address=…&fixed_ips=subnet_id=…` narrow together; plain values widen.
    const keys = new Set(wanted.map((w) => w.split('=')[0] ?? ''));
    const holds = pairs
      ? [...keys].every((k) => wanted.some((w) => (w.split('=')[0] ?? '') === k && matchesOne(value, w)))
      : wanted.some((w) => matchesOne(value, w));
    if (!holds) return false;
  }
  return matchesTags((view.tags as string[] | undefined) ?? [], query);
};

const compare = (a: unknown, b: unknown): number => {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return a < b ? -1 : 1;
};

const sorted = (views: readonly View[], call: Call, known: View | undefined): View[] => {
  const keys = call.query.sort_key ?? [];
  const directions = call.query.sort_dir ?? [];
  if (keys.length !== directions.length && directions.length > 0)
    throw badRequest('The number of sort_keys and sort_dirs must be same');
  for (const direction of directions)
    if (direction !== 'asc' && direction !== 'desc')
      throw badRequest(`sort_dir must be one of ['asc', 'desc'], not ${direction.slice(0, 50)}`);
  for (const key of keys)
    if (known && !Object.hasOwn(known, key))
      throw badRequest(`['${key.slice(0, 100)}'] is invalid attribute for sort_key`);
  return [...views].sort((a, b) => {
    for (const [i, key] of keys.entries()) {
      const order = compare(a[key], b[key]);
      if (order !== 0) return directions[i] === 'desc' ? -order : order;
    }
    return compare(a.id, b.id);
  });
};

const limitOf = (call: Call): number => {
  const raw = call.query.limit?.at(-1);
  if (raw === undefined || raw === '' || raw === '-1' || raw === '0') return Number.POSITIVE_INFINITY;
  if (!/^\d{1,9}$/.test(raw)) throw badRequest(`Limit must be an integer 0 or greater and not '${raw.slice(0, 100)}'`);
  return Number(raw);
};

/** Lists with Neutron's filters, sorting and paging. */
export const list = async <Row extends object>(kind: Kind<Row>, rows: RowReader, call: Call): Promise<View> => {
  const limit = limitOf(call);
  const views: View[] = [];
  let known: View | undefined;
  for (const row of await kind.candidates(rows, call)) {
    if (!call.can(`get_${kind.singular}`, await kind.target(rows, row))) continue;
    const view = await present(kind, rows, call, row, []);
    if (!known) checkTruths(view, call.query);
    known ??= view;
    if (matches(view, call.query)) views.push(view);
  }
  const inOrder = sorted(views, call, known);
  const reverse = /^(true|1)$/i.test(call.query.page_reverse?.at(-1) ?? '');
  if (reverse) inOrder.reverse();
  const marker = call.query.marker?.at(-1);
  let start = 0;
  if (marker !== undefined && marker !== '') {
    start = inOrder.findIndex((v) => v.id === marker) + 1;
    if (start === 0) throw kind.notFound(marker);
  }
  const page = inOrder.slice(start, start + limit);
  if (reverse) page.reverse();
  const links: { rel: string; href: string }[] = [];
  const link = (rel: 'next' | 'previous', view: View | undefined) => {
    if (!view) return;
    const parameters = new URLSearchParams(call.path.split('?')[1] ?? '');
    parameters.delete('marker');
    parameters.delete('page_reverse');
    parameters.set('marker', `${view.id}`);
    if (rel === 'previous') parameters.set('page_reverse', 'True');
    links.push({ rel, href: `${call.publicUrl}${call.path.split('?')[0]}?${parameters}` });
  };
  if (Number.isFinite(limit)) {
    if (page.length === limit || reverse) link('next', page.at(-1));
    if (marker !== undefined || (reverse && page.length === limit)) link('previous', page[0]);
  }
  const fields = fieldsOf(call);
  const name = kind.plural.replaceAll('-', '_');
  return {
    [name]:
      fields.length === 0
        ? page
        : page.map((view) => Object.fromEntries(Object.entries(view).filter(([key]) => fields.includes(key)))),
    ...(links.length > 0 ? { [`${name}_links`]: links } : {}),
  };
};

/** `If-Match: revision_number=N`. @throws DomainError `invalid` for any other form */
export const ifRevision = (call: Call): number | undefined => {
  const header = call.headers['if-match'];
  if (header === undefined) return undefined;
  const match = /^revision_number=(\d{1,9})$/.exec(header.trim());
  if (!match) throw badRequest(`Invalid value for If-Match header: ${header.slice(0, 100)}`);
  return Number(match[1]);
};

/** RFC 3339 without milliseconds, as Neutron prints it. */
export const moment = (instant: string): string => instant.replace(/\.\d{3}Z$/, 'Z');

/** Rows of the caller's project; all rows for whoever may see all. */
export const ownOrAll = async <Row extends { readonly projectId: string }>(
  table: Table<Row>,
  rows: RowReader,
  call: Call,
): Promise<Row[]> =>
  call.isAdmin ? rows.find(table) : rows.find(table, { where: { projectId: call.token.projectId ?? '' } as never });
