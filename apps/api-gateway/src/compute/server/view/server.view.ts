import { createHash } from 'node:crypto';
import type { PowerState } from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';
import { isoNaive, isoSeconds, linksOf } from '../../common/paging.js';
import { View, type ViewField } from '../../common/versions.js';
import { guestInPlace } from '../state/adopted-guest.js';
import type { Server } from '../state/server.js';
import type { ServerRow } from './server.projection.js';

/** What a view of servers needs beside their rows. */
export interface ServerViewContext {
  readonly publicUrl: string;
  /** The policy lets the caller see where servers are and what they were given. */
  readonly extendedAttributes: boolean;
  readonly extraSpecs: boolean;
  readonly hostStatus: 'all' | 'unknown' | 'none';
  readonly isAdmin: boolean;
  /** Security groups by server. */
  readonly securityGroups: ReadonlyMap<string, readonly string[]>;
  readonly groupNames: ReadonlyMap<string, string>;
  readonly hostStates: ReadonlyMap<string, 'UP' | 'DOWN' | 'MAINTENANCE'>;
  /** User data by server, only where the caller may see it. */
  readonly userData: ReadonlyMap<string, string>;
  /** Server groups by server; only when a single server is shown. */
  readonly serverGroups: ReadonlyMap<string, string>;
}

/** Nova's numbers for power states. */
export const powerStates: Readonly<Record<PowerState, number>> = {
  noState: 0,
  running: 1,
  paused: 3,
  shutdown: 4,
  crashed: 6,
  suspended: 7,
};

const statuses: Readonly<Record<Server['vmState'], string>> = {
  active: 'ACTIVE',
  building: 'BUILD',
  paused: 'PAUSED',
  suspended: 'SUSPENDED',
  stopped: 'SHUTOFF',
  rescued: 'RESCUE',
  resized: 'VERIFY_RESIZE',
  error: 'ERROR',
  deleted: 'DELETED',
};
type VmStates = readonly Server['vmState'][];
const anywhere: VmStates = ['active', 'stopped', 'error'];
/** What a server is called while a task runs, in the states that the task shows through. */
const taskStatuses: { readonly [T in NonNullable<Server['taskState']>]?: readonly [string, VmStates] } = {
  rebooting: ['REBOOT', ['active']],
  rebooting_hard: ['HARD_REBOOT', ['active']],
  rebuilding: ['REBUILD', anywhere],
  resize_prep: ['RESIZE', anywhere],
  resize_migrating: ['RESIZE', anywhere],
  resize_migrated: ['RESIZE', anywhere],
  resize_finish: ['RESIZE', anywhere],
  migrating: ['MIGRATING', ['active']],
  resize_reverting: ['REVERT_RESIZE', ['resized', 'error']],
};

export const statusOf = (row: Pick<ServerRow, 'vmState' | 'taskState' | 'deleted'>): string => {
  if (row.deleted) return 'DELETED';
  const [status, from] = (row.taskState && taskStatuses[row.taskState]) || [];
  return status !== undefined && from?.includes(row.vmState) ? status : statuses[row.vmState];
};

/** Every status of the API; those that no server of ours can have are still valid to ask for. */
export const knownStatuses: ReadonlySet<string> = new Set([
  ...Object.values(statuses),
  ...Object.values(taskStatuses).map(([status]) => status),
  ...['PASSWORD', 'SHELVED', 'SHELVED_OFFLOADED'],
  ...['SOFT_DELETED', 'UNKNOWN'],
]);

const hiddenHosts = new LRUCache<string, string>({
  max: 1_000,
  memoMethod: (open) => createHash('sha224').update(open).digest('hex'),
});

/** Names a host to a project without telling it which one it is. */
export const hiddenHost = (projectId: string, host: string | null): string =>
  host === null ? '' : hiddenHosts.memo(`${projectId}${host}`);

const withProgress = new Set(['ACTIVE', 'BUILD', 'REBUILD', 'RESIZE', 'VERIFY_RESIZE', 'REVERT_RESIZE']);
const withFault = new Set(['ERROR', 'DELETED']);

const faultOf = (row: ServerRow, context: ServerViewContext) => {
  if (!row.fault || !withFault.has(statusOf(row))) return undefined;
  const { code, message, details } = row.fault;
  return {
    code,
    created: isoSeconds(row.faultAt ?? row.updatedAt),
    message,
    ...(details !== undefined && (context.isAdmin || code !== 500) ? { details } : {}),
  };
};

/** Addresses by network; `extended` adds what extensions of before 2.1 added. */
export const addressesOf = (row: ServerRow, extended: boolean): Record<string, Record<string, unknown>[]> => {
  if (row.vmState === 'building') return {};
  const networks: Record<string, Record<string, unknown>[]> = {};
  for (const port of row.ports ?? []) {
    networks[port.networkName] ??= [];
    for (const ip of port.fixedIps)
      networks[port.networkName]!.push({
        version: ip.version,
        addr: ip.address,
        ...(extended ? { 'OS-EXT-IPS:type': 'fixed', 'OS-EXT-IPS-MAC:mac_addr': port.mac } : {}),
      });
  }
  return networks;
};

const bookmark = (publicUrl: string, collection: string, id: string) => linksOf(publicUrl, collection, id).slice(1);

/** Nova shows none for what was made of no image. */
const imageOf = (row: ServerRow, context: ServerViewContext, properties: boolean) =>
  guestInPlace(row)
    ? ''
    : {
        id: row.image.id,
        links: bookmark(context.publicUrl, 'images', row.image.id),
        ...(properties ? { properties: row.image.properties } : {}),
      };

const embeddedFlavor = ({ flavor }: ServerRow, context: ServerViewContext) => ({
  vcpus: flavor.vcpus,
  ram: flavor.memory,
  disk: flavor.disk,
  ephemeral: flavor.ephemeral,
  swap: flavor.swap,
  original_name: flavor.name,
  ...(context.extraSpecs ? { extra_specs: flavor.extraSpecs } : {}),
});

const hostStatusOf = (row: ServerRow, context: ServerViewContext) => {
  if (context.hostStatus === 'none') return undefined;
  const status = row.hostId === null ? '' : (context.hostStates.get(row.hostId) ?? 'UNKNOWN');
  return context.hostStatus === 'all' || status === 'UNKNOWN' ? status : undefined;
};

const forAdmins =
  (value: (row: ServerRow, context: ServerViewContext) => unknown) => (row: ServerRow, context: ServerViewContext) =>
    context.extendedAttributes ? value(row, context) : undefined;

type Field = ViewField<ServerRow, ServerViewContext>;

const core = (extended: boolean): readonly Field[] => [
  ['id', '2.1', null, (r) => r.id],
  ['name', '2.1', null, (r) => r.name],
  ['status', '2.1', null, statusOf],
  ['tenant_id', '2.1', null, (r) => r.projectId],
  ['user_id', '2.1', null, (r) => r.userId],
  ['metadata', '2.1', null, (r) => r.metadata],
  ['hostId', '2.1', null, (r) => hiddenHost(r.projectId, r.host)],
  ['image', '2.1', '2.97', (r, c) => imageOf(r, c, false)],
  ['image', '2.98', null, (r, c) => imageOf(r, c, true)],
  ['flavor', '2.1', '2.46', (r, c) => ({ id: r.flavorId, links: bookmark(c.publicUrl, 'flavors', r.flavorId) })],
  ['flavor', '2.47', null, embeddedFlavor],
  ['created', '2.1', null, (r) => isoSeconds(r.createdAt)],
  ['updated', '2.1', null, (r) => isoSeconds(r.updatedAt)],
  ['addresses', '2.1', extended ? null : '2.74', (r) => addressesOf(r, extended)],
  ['accessIPv4', '2.1', null, (r) => r.accessIpV4 ?? ''],
  ['accessIPv6', '2.1', null, (r) => r.accessIpV6 ?? ''],
  ['links', '2.1', null, (r, c) => linksOf(c.publicUrl, 'servers', r.id)],
  ['OS-DCF:diskConfig', '2.1', null, (r) => r.diskConfig ?? 'MANUAL'],
  ['progress', '2.1', null, (r) => (withProgress.has(statusOf(r)) ? 0 : undefined)],
  ['fault', '2.1', null, faultOf],
  ['locked', '2.9', null, (r) => r.locked],
  ['description', '2.19', null, (r) => r.description],
  ['tags', '2.26', null, (r) => r.tags],
  ['trusted_image_certificates', '2.63', null, () => null],
  ['locked_reason', '2.73', null, (r) => r.lockedReason],
  ['scheduler_hints', '2.100', null, (r) => r.hints],
];

/** What a server's own page adds, and, from 2.75 on, the answer to its update. */
const more: readonly Field[] = [
  ['OS-EXT-AZ:availability_zone', '2.1', null, (r) => r.availabilityZone ?? r.requestedZone ?? ''],
  ['config_drive', '2.1', null, (r) => (r.configDrive ? 'True' : '')],
  ['key_name', '2.1', null, (r) => r.keyName],
  ['OS-SRV-USG:launched_at', '2.1', null, (r) => (r.launchedAt ? isoNaive(r.launchedAt) : null)],
  ['OS-SRV-USG:terminated_at', '2.1', null, (r) => (r.terminatedAt ? isoNaive(r.terminatedAt) : null)],
  [
    'security_groups',
    '2.1',
    null,
    (r, c) => {
      const names = (c.securityGroups.get(r.id) ?? []).flatMap((id) => c.groupNames.get(id) ?? []);
      return names.length > 0 ? names.map((name) => ({ name })) : undefined;
    },
  ],
  ['OS-EXT-STS:task_state', '2.1', null, (r) => r.taskState],
  ['OS-EXT-STS:vm_state', '2.1', null, (r) => r.vmState],
  ['OS-EXT-STS:power_state', '2.1', null, (r) => powerStates[r.power]],
  ['os-extended-volumes:volumes_attached', '2.1', null, () => []],
  ['OS-EXT-SRV-ATTR:host', '2.1', null, forAdmins((r) => r.host)],
  ['OS-EXT-SRV-ATTR:instance_name', '2.1', null, forAdmins((r) => `instance-${r.id.slice(0, 8)}`)],
  ['OS-EXT-SRV-ATTR:hypervisor_hostname', '2.1', null, forAdmins((r) => r.node)],
  ['OS-EXT-SRV-ATTR:hostname', '2.3', '2.89', forAdmins((r) => r.hostname)],
  ['OS-EXT-SRV-ATTR:hostname', '2.90', null, (r) => r.hostname],
  ['OS-EXT-SRV-ATTR:kernel_id', '2.3', null, forAdmins((r) => r.image.kernel?.id ?? '')],
  ['OS-EXT-SRV-ATTR:ramdisk_id', '2.3', null, forAdmins((r) => r.image.ramdisk?.id ?? '')],
  ['OS-EXT-SRV-ATTR:launch_index', '2.3', null, forAdmins((r) => r.launchIndex)],
  ['OS-EXT-SRV-ATTR:reservation_id', '2.3', null, forAdmins((r) => r.reservationId)],
  ['OS-EXT-SRV-ATTR:root_device_name', '2.3', null, forAdmins((r) => (r.launched ? '/dev/vda' : null))],
  ['OS-EXT-SRV-ATTR:user_data', '2.3', null, forAdmins((r, c) => c.userData.get(r.id) ?? null)],
  ['host_status', '2.16', null, hostStatusOf],
  ['pinned_availability_zone', '2.96', null, (r) => r.requestedZone],
];

const groups: Field = [
  'server_groups',
  '2.71',
  null,
  (r, c) => {
    const group = c.serverGroups.get(r.id);
    return group === undefined ? [] : [group];
  },
];

/** An update has told everything since 2.75 only. */
const FULL_UPDATE = '2.75';
const later = (fields: readonly Field[]): Field[] =>
  fields.map(([name, from, to, value]) => [name, minor(from) < minor(FULL_UPDATE) ? FULL_UPDATE : from, to, value]);
const minor = (version: string) => Number(version.split('.')[1]);

export const serverDetailView = new View<ServerRow, ServerViewContext>([...core(true), ...more]);
export const serverShowView = new View<ServerRow, ServerViewContext>([...core(true), ...more, groups]);
const update: readonly Field[] = [
  ...core(false),
  ['addresses', FULL_UPDATE, null, (r) => addressesOf(r, true)],
  ...later(more),
  groups,
];
export const serverUpdateView = new View<ServerRow, ServerViewContext>(update);
/** A rebuild tells the user data under another name. */
export const serverRebuildView = new View<ServerRow, ServerViewContext>(
  update.filter(([name]) => name !== 'OS-EXT-SRV-ATTR:user_data'),
);

/** What a list without details shows of a server. */
export const serverBrief = (row: ServerRow, publicUrl: string) => ({
  id: row.id,
  name: row.name,
  links: linksOf(publicUrl, 'servers', row.id),
});
