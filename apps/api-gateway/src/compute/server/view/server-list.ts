import { DomainError, forbidden, invalid } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';
import { first, last, markerNotFound, pageSize, type Query } from '../../common/paging.js';
import { parseTime } from '../../common/parameters.js';
import { matcher } from '../../common/safe-regex.js';
import { flavorTable } from '../../flavor/flavor.projection.js';
import { ignoredSortKeys, joinedTables, patternFilters } from '../server.schema.js';
import { type ServerRow, serverTable } from './server.projection.js';
import { knownStatuses, powerStates, statusOf } from './server.view.js';

type Test = (row: ServerRow) => boolean;
type Value = string | number | boolean | null;

const text = (value: Value | undefined): string =>
  value === null || value === undefined ? '' : value === true ? '1' : value === false ? '0' : String(value);

/** What filters and sort keys compare, by Nova's names. */
const fields: Readonly<Record<string, (row: ServerRow) => Value>> = {
  uuid: (r) => r.id,
  name: (r) => r.name,
  display_name: (r) => r.name,
  description: (r) => r.description,
  display_description: (r) => r.description,
  user_id: (r) => r.userId,
  project_id: (r) => r.projectId,
  tenant_id: (r) => r.projectId,
  launch_index: (r) => r.launchIndex,
  image_ref: (r) => r.imageId,
  image: (r) => r.imageId,
  flavor: (r) => r.flavorId,
  instance_type_id: (r) => r.flavorId,
  hostname: (r) => r.hostname,
  key_name: (r) => r.keyName,
  power_state: (r) => powerStates[r.power],
  vm_state: (r) => r.vmState,
  task_state: (r) => r.taskState,
  host: (r) => r.host,
  node: (r) => r.node,
  reservation_id: (r) => r.reservationId,
  launched_at: (r) => r.launchedAt,
  terminated_at: (r) => r.terminatedAt,
  created_at: (r) => r.createdAt,
  updated_at: (r) => r.updatedAt,
  availability_zone: (r) => r.availabilityZone ?? r.requestedZone,
  config_drive: (r) => (r.configDrive ? 'True' : ''),
  locked_by: (r) => r.lockedBy,
  locked: (r) => r.locked,
  root_device_name: (r) => (r.launched ? '/dev/vda' : null),
  access_ip_v4: (r) => r.accessIpV4 ?? null,
  access_ip_v6: (r) => r.accessIpV6 ?? null,
  auto_disk_config: (r) => r.diskConfig === 'AUTO',
  progress: () => 0,
  kernel_id: (r) => r.image.kernel?.id ?? '',
  ramdisk_id: (r) => r.image.ramdisk?.id ?? '',
};

/** Filters that everybody may use, and since when; the rest is for those who may use all. */
const forEverybody: Readonly<Record<string, string>> = {
  reservation_id: '2.1',
  name: '2.1',
  status: '2.1',
  image: '2.1',
  flavor: '2.1',
  ip: '2.1',
  'changes-since': '2.1',
  all_tenants: '2.1',
  ip6: '2.5',
  tags: '2.26',
  'tags-any': '2.26',
  'not-tags': '2.26',
  'not-tags-any': '2.26',
  'changes-before': '2.66',
  locked: '2.73',
  availability_zone: '2.83',
  config_drive: '2.83',
  key_name: '2.83',
  created_at: '2.83',
  launched_at: '2.83',
  terminated_at: '2.83',
  power_state: '2.83',
  task_state: '2.83',
  vm_state: '2.83',
  progress: '2.83',
  user_id: '2.83',
};

/** An entry of a table; callers choose the key. */
const own = <T>(record: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(record, key) ? record[key] : undefined;

const TRUE = new Set(['1', 't', 'true', 'on', 'y', 'yes']);
const FALSE = new Set(['0', 'f', 'false', 'off', 'n', 'no']);

/** `all_tenants` without a value means yes. */
const asksForAll = (values: readonly string[] | undefined): boolean => {
  if (values === undefined) return false;
  const value = (values.at(-1) ?? '').toLowerCase();
  if (value === '' || TRUE.has(value)) return true;
  if (FALSE.has(value)) return false;
  throw invalid(`Invalid value '${value.slice(0, 64)}' for all_tenants`);
};

const tagTests: Readonly<Record<string, (tags: readonly string[], wanted: readonly string[]) => boolean>> = {
  tags: (tags, wanted) => wanted.every((t) => tags.includes(t)),
  'tags-any': (tags, wanted) => wanted.some((t) => tags.includes(t)),
  'not-tags': (tags, wanted) => !wanted.every((t) => tags.includes(t)),
  'not-tags-any': (tags, wanted) => !wanted.some((t) => tags.includes(t)),
};

interface Selection {
  readonly tests: readonly Test[];
  /** Null: of all projects. */
  readonly projectId: string | null;
  readonly userId: string | null;
  /** Undefined: deleted or not. */
  readonly deleted: boolean | undefined;
  readonly nothing: boolean;
}

const usable = (call: Call, allFilters: boolean): Query => {
  const query = call.query as Query;
  const kept: Record<string, readonly string[]> = {};
  for (const [key, values] of Object.entries(query)) {
    if (!values) continue;
    if (key.startsWith('_') || (allFilters && joinedTables.includes(key)))
      throw invalid(`Invalid filter field: ${key.slice(0, 255)}.`);
    const from = own(forEverybody, key);
    if (allFilters || (from !== undefined && call.since(from))) kept[key] = values;
  }
  return kept;
};

const statusTest = (call: Call): Test | null | undefined => {
  const asked = (call.query as Query).status;
  if (!asked) return undefined;
  const wanted = new Set(asked.map((s) => s.toUpperCase()).filter((s) => knownStatuses.has(s)));
  if (wanted.size > 0) {
    if (wanted.size === 1 && wanted.has('DELETED') && !call.isAdmin)
      throw forbidden('Only administrators may list deleted instances');
    return (row) => wanted.has(statusOf(row));
  }
  if (call.since('2.38')) throw invalid('Invalid status value');
  return null;
};

const timeOf = (query: Query, key: string): string | undefined => {
  const raw = last(query, key);
  if (raw === undefined) return undefined;
  const time = parseTime(raw);
  if (time === null) throw invalid(`Invalid filter field: ${key}.`);
  return time;
};

const addressTest = (pattern: string, version: 4 | 6): Test => {
  const match = matcher(pattern);
  return (row) => (row.ports ?? []).some((p) => p.fixedIps.some((ip) => ip.version === version && match(ip.address)));
};

const select = async (call: Call, rows: RowReader, detail: boolean): Promise<Selection> => {
  const allFilters = call.can('os_compute_api:servers:allow_all_filters');
  const query = usable(call, allFilters);
  const tests: Test[] = [];
  let nothing = false;
  const status = statusTest(call);
  if (status === null) nothing = true;
  else if (status) tests.push(status);

  const since = timeOf(query, 'changes-since');
  const before = timeOf(query, 'changes-before');
  if (since && before && before < since)
    throw invalid('The value of changes-since must be less than or equal to changes-before.');
  if (since) tests.push((row) => row.updatedAt >= since);
  if (before) tests.push((row) => row.updatedAt <= before);

  const deletedAsked = last(query, 'deleted');
  const onlyDeleted =
    (call.query as Query).status?.length === 1 && first(call.query as Query, 'status')?.toUpperCase() === 'DELETED';
  const deleted = onlyDeleted
    ? true
    : deletedAsked !== undefined
      ? TRUE.has(deletedAsked.toLowerCase())
      : since || before
        ? undefined
        : false;

  for (const [key, test] of Object.entries(tagTests)) {
    const wanted = last(query, key)?.split(',');
    if (wanted) tests.push((row) => test(row.tags, wanted));
  }
  for (const [key, version] of [
    ['ip', 4],
    ['ip6', 6],
  ] as const) {
    const pattern = last(query, key);
    if (pattern !== undefined) tests.push(addressTest(pattern, version));
  }
  const flavor = last(query, 'flavor');
  if (flavor !== undefined) {
    if (!(await rows.get(flavorTable, flavor))) nothing = true;
    tests.push((row) => row.flavorId === flavor);
  }
  const lockedAsked = last(query, 'locked');
  if (lockedAsked !== undefined) {
    const value = lockedAsked.toLowerCase();
    if (!TRUE.has(value) && !FALSE.has(value)) throw invalid(`Invalid value '${value.slice(0, 64)}' for locked`);
    tests.push((row) => row.locked === TRUE.has(value));
  }

  const all = asksForAll(query.all_tenants);
  if (all) call.enforce(`os_compute_api:servers:${detail ? 'detail' : 'index'}:get_all_tenants`);
  const special = new Set(['flavor', 'locked', 'ip', 'ip6', ...(all ? [] : ['project_id', 'tenant_id'])]);
  for (const [key, values] of Object.entries(query)) {
    const field = own(fields, key);
    const wanted = values?.at(-1);
    if (!field || special.has(key) || wanted === undefined) continue;
    if (patternFilters.has(key)) {
      const match = matcher(wanted);
      tests.push((row) => match(text(field(row))));
    } else tests.push((row) => text(field(row)) === wanted);
  }
  const { projectId, userId } = call.token;
  return { tests, projectId: all ? null : projectId, userId: all || projectId ? null : userId, deleted, nothing };
};

type Order = readonly (readonly [(row: ServerRow) => Value, 1 | -1])[];

const orderOf = (call: Call): Order | null => {
  const query = call.query as Query;
  const keys = (query.sort_key ?? []).filter((k) => !ignoredSortKeys.has(k) || (k === 'locked' && call.since('2.73')));
  const dirs = query.sort_dir ?? [];
  for (const dir of dirs)
    if (!['asc', 'desc'].includes(dir)) throw invalid(`Unknown sort direction, must be one of: asc, desc`);
  for (const key of keys)
    if ((key === 'host' || key === 'node') && !call.isAdmin)
      throw forbidden('Only administrators can sort servers by host');
  if (keys.length === 0 && dirs.length === 0) return null;
  if (keys.length === 0) return [[fields.created_at!, dirs[0] === 'asc' ? 1 : -1]];
  return keys.flatMap((key, i) => {
    const field = own(fields, key);
    return field ? [[field, (dirs[i] ?? dirs.at(-1) ?? 'desc') === 'asc' ? 1 : -1] as const] : [];
  });
};

const compare = (order: Order) => (a: ServerRow, b: ServerRow) => {
  for (const [field, sign] of order) {
    const x = field(a);
    const y = field(b);
    if (x === y) continue;
    if (x === null) return -sign;
    if (y === null) return sign;
    return x < y ? -sign : sign;
  }
  return a.id < b.id ? -1 : 1;
};

/** One page of the servers that the query asks for and the caller may know of: may be gone through once. */
export const listServers = async (call: Call, rows: RowReader, detail: boolean): Promise<Iterable<ServerRow>> => {
  const query = call.query as Query;
  const size = pageSize(query);
  const selection = await select(call, rows, detail);
  const order = orderOf(call);
  const marker = first(query, 'marker');
  if (marker !== undefined) {
    const row = await rows.get(serverTable, marker);
    if (!row || (selection.projectId !== null && row.projectId !== selection.projectId)) throw markerNotFound(marker);
  }
  if (selection.nothing || size === 0) return [];
  const where = {
    ...(selection.projectId === null ? {} : { projectId: selection.projectId }),
    ...(selection.userId === null ? {} : { userId: selection.userId }),
    ...(selection.deleted === undefined ? {} : { deleted: selection.deleted }),
  };
  const orderBy = [['createdAt', 'desc']] as const;
  if (selection.tests.length === 0 && order === null) {
    try {
      return await rows.scan(serverTable, {
        where,
        orderBy,
        limit: size,
        ...(marker === undefined ? {} : { after: marker }),
      });
    } catch (error) {
      if (marker !== undefined && error instanceof DomainError && error.kind === 'invalid')
        throw markerNotFound(marker);
      throw error;
    }
  }
  const found: ServerRow[] = [];
  for (const row of await rows.scan(serverTable, { where, orderBy }))
    if (selection.tests.every((t) => t(row))) found.push(row);
  if (order) found.sort(compare(order));
  const start = marker === undefined ? 0 : found.findIndex((row) => row.id === marker) + 1;
  if (marker !== undefined && start === 0) throw markerNotFound(marker);
  return found.slice(start, start + size);
};
