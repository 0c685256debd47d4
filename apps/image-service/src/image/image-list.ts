import { invalid } from '@omnivisor/contracts';
import type { Condition, RowReader } from '@omnivisor/eventsourcing';
import { compareScalars } from '@omnivisor/eventsourcing/memory';
import { type ImageRow, imagesTable } from './image.projection.js';
import { isVisible } from './image-access.js';
import { filtersOf, type ImageFilter, passes, type Query } from './image-filters.js';
import { imageNotFound } from './image-lifecycle.js';

type Field = keyof ImageRow & string;
type Order = readonly (readonly [Field, 'asc' | 'desc'])[];
type Where = { [F in Field]?: Condition };

const SORT_KEYS: Readonly<Record<string, Field>> = {
  name: 'name',
  status: 'status',
  container_format: 'containerFormat',
  disk_format: 'diskFormat',
  size: 'size',
  id: 'id',
  created_at: 'createdAt',
  updated_at: 'updatedAt',
};

const sortKey = (name: string): Field => {
  if (!Object.hasOwn(SORT_KEYS, name))
    throw invalid(`Invalid sort key: ${name}. It must be one of the following: ${Object.keys(SORT_KEYS).join(', ')}.`);
  return SORT_KEYS[name]!;
};
const sortDir = (name: string): 'asc' | 'desc' => {
  if (name !== 'asc' && name !== 'desc') throw invalid(`Invalid sort direction: ${name}`);
  return name;
};

/** The order asked for: `sort=name:asc,size` or `sort_key` and `sort_dir`. @throws DomainError `invalid` */
export const orderOf = (query: Query): Order => {
  let order: [Field, 'asc' | 'desc'][];
  if (query.sort) {
    if (query.sort_key || query.sort_dir) throw invalid('Old and new sorting syntax cannot be combined');
    order = query.sort
      .at(-1)!
      .trim()
      .split(',')
      .map((part) => {
        const [key = '', dir = ''] = part.split(':', 2);
        return [sortKey(key.trim()), dir === '' ? 'desc' : sortDir(dir.trim())];
      });
  } else {
    const keys = (query.sort_key ?? []).map((k) => sortKey(k.trim()));
    const dirs = (query.sort_dir ?? []).map((d) => sortDir(d.trim()));
    if (dirs.length > 1 && dirs.length !== keys.length)
      throw invalid('Number of sort dirs does not match the number of sort keys');
    order = (keys.length > 0 ? keys : ['createdAt' as Field]).map((k, i) => [k, dirs[i] ?? dirs[0] ?? 'desc']);
  }
  const unique = order.filter(([k], i) => order.findIndex(([other]) => other === k) === i);
  const direction = unique.find(([k]) => k === 'createdAt')?.[1] ?? unique[0]![1];
  return [...unique, ['created', direction]];
};

/** Sets of rows whose union the caller may list. */
const branchesOf = (query: Query, projectId: string | null, isAdmin: boolean): Where[] => {
  const visibility = query.visibility?.at(-1);
  if (visibility && !['community', 'public', 'private', 'shared', 'all'].includes(visibility))
    throw invalid(`Invalid visibility value: ${visibility}`);
  const status = query.member_status?.at(-1) ?? 'accepted';
  if (!['pending', 'accepted', 'rejected', 'all'].includes(status)) throw invalid(`Invalid status: ${status}`);
  const own = projectId === null ? [] : [{ owner: projectId }];
  const offered =
    projectId === null ? [] : [{ visibility: 'shared', memberTexts: { contains: `${status}:${projectId}` } }];
  const open = [{ visibility: 'public' }, { visibility: 'community' }];
  if (visibility === 'all') return isAdmin ? [{}] : [...own, ...offered, ...open];
  // Community images of others are listed only when asked for.
  if (!visibility) return isAdmin ? [{ visibility: { ne: 'community' } }, ...own] : [...own, ...offered, open[0]!];
  if (isAdmin || visibility === 'public' || visibility === 'community') return [{ visibility }];
  return [...own.map((w) => ({ ...w, visibility })), ...(visibility === 'shared' ? offered : [])];
};

const PAGE = 500;

/** At most `limit` rows of one branch that pass every filter. */
const scan = async (
  rows: RowReader,
  branch: Where,
  filters: readonly ImageFilter[],
  order: Order,
  limit: number,
  after: string | undefined,
): Promise<ImageRow[]> => {
  const where: Record<string, Condition> = { ...branch } as Record<string, Condition>;
  for (const { field, condition } of filters) if (!(field in where)) where[field] = condition as Condition;
  const found: ImageRow[] = [];
  for (let from = after; found.length < limit; ) {
    const page = await rows.find(imagesTable, {
      where: where as Where,
      orderBy: order,
      limit: Math.min(PAGE, Math.max(limit, 50)),
      ...(from === undefined ? {} : { after: from }),
    });
    found.push(...page.filter((row) => filters.every((f) => passes(row, f))));
    if (page.length < Math.min(PAGE, Math.max(limit, 50))) break;
    from = page.at(-1)!.id;
  }
  return found.slice(0, limit);
};

export interface ListRequest {
  readonly query: Query;
  readonly projectId: string | null;
  readonly isAdmin: boolean;
  readonly limit: number;
  readonly marker: string | undefined;
}

/** The images of a list. @throws DomainError `invalid` in Glance's words */
export const listImages = async (rows: RowReader, request: ListRequest): Promise<ImageRow[]> => {
  const { query, projectId, isAdmin, limit, marker } = request;
  const order = orderOf(query);
  const filters = filtersOf(query);
  const branches = branchesOf(query, projectId, isAdmin);
  if (marker !== undefined) {
    const row = await rows.get(imagesTable, marker);
    if (!row || !isVisible(row, projectId, isAdmin)) throw invalid(imageNotFound(marker.slice(0, 100)).message);
  }
  if (limit === 0) return [];
  const found = new Map<string, ImageRow>();
  for (const branch of branches)
    for (const row of await scan(rows, branch, filters, order, limit, marker)) found.set(row.id, row);
  const compare = (a: ImageRow, b: ImageRow): number => {
    for (const [field, direction] of order) {
      const by = compareScalars(a[field], b[field]);
      if (by !== 0) return direction === 'asc' ? by : -by;
    }
    return compareScalars(a.id, b.id);
  };
  return [...found.values()].sort(compare).slice(0, limit);
};
