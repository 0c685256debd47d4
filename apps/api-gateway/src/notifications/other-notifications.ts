import type { FlavorEvent, HostEvent, KeypairEvent, RecordedEvent, ServerGroupEvent } from '@omnivisor/contracts';
import { isoSeconds } from '../compute/common/paging.js';
import type { FlavorRow } from '../compute/flavor/flavor.projection.js';
import type { HostRow } from '../compute/host/host.projection.js';
import type { ServerGroupRow } from '../compute/server-group/server-group.projection.js';
import type { Notification } from './notification.js';
import { novaObject } from './nova-object.js';

const API = 'nova-api:omnivisor';

export const flavorNotification = (event: RecordedEvent & FlavorEvent, row: FlavorRow): Notification => {
  const name = event.type === 'FlavorCreated' ? 'create' : event.type === 'FlavorDeleted' ? 'delete' : 'update';
  const payload = novaObject('FlavorPayload', '1.4', {
    flavorid: row.id,
    name: row.name,
    root_gb: row.disk,
    vcpus: row.vcpus,
    ephemeral_gb: row.ephemeral,
    memory_mb: row.ram,
    swap: row.swap,
    extra_specs: row.extraSpecs,
    disabled: false,
    rxtx_factor: row.rxtxFactor,
    projects: row.isPublic ? null : row.access,
    is_public: row.isPublic,
    vcpu_weight: 0,
    description: row.description,
  });
  return { name: `flavor.${name}`, publisher: API, payload };
};

export const keypairNotifications = ({ type, data }: KeypairEvent, fingerprintOf: KeypairData): Notification[] => {
  const action = type === 'KeypairDeleted' ? 'delete' : data.generated ? 'create' : 'import';
  const payload = novaObject('KeypairPayload', '1.0', {
    user_id: data.userId,
    name: data.name,
    fingerprint: fingerprintOf.fingerprint,
    public_key: fingerprintOf.publicKey,
    type: fingerprintOf.type,
  });
  return ['start', 'end'].map((phase) => ({ name: `keypair.${action}.${phase}`, publisher: API, payload }));
};
/** What of a keypair the row has; of one that is deleted, had. */
export interface KeypairData {
  readonly fingerprint: string;
  readonly publicKey: string;
  readonly type: string;
}

export const serverGroupNotification = ({ type }: ServerGroupEvent, row: ServerGroupRow): Notification | null => {
  const names = { ServerGroupCreated: 'create', ServerGroupMemberAdded: 'add_member', ServerGroupDeleted: 'delete' };
  const name = (names as Record<string, string | undefined>)[type];
  if (name === undefined) return null;
  const payload = novaObject('ServerGroupPayload', '1.1', {
    uuid: row.id,
    name: row.name,
    project_id: row.projectId,
    user_id: row.userId,
    policies: [row.policy],
    policy: row.policy,
    rules: row.maxServerPerHost === null ? {} : { max_server_per_host: String(row.maxServerPerHost) },
    members: row.members,
    hosts: null,
  });
  return { name: `server_group.${name}`, publisher: API, payload };
};

const SERVICES: { readonly [T in HostEvent['type']]?: string } = {
  HostEnrolled: 'create',
  HostSessionStarted: 'update',
  HostWentUp: 'update',
  HostWentDown: 'update',
  HostEnabled: 'update',
  HostDisabled: 'update',
  HostFenced: 'update',
  HostRetired: 'delete',
};

export const hostNotification = ({ type }: HostEvent, row: HostRow): Notification | null => {
  const name = SERVICES[type];
  if (name === undefined) return null;
  const payload = novaObject('ServiceStatusPayload', '1.1', {
    host: row.name,
    binary: 'nova-compute',
    topic: 'compute',
    report_count: row.session,
    disabled: !row.enabled,
    disabled_reason: row.disabledReason,
    availability_zone: row.availabilityZone,
    last_seen_up: row.up ? isoSeconds(row.updatedAt) : null,
    forced_down: row.fenced,
    version: 0,
    uuid: row.id,
  });
  return { name: `service.${name}`, publisher: `nova-compute:${row.name}`, payload };
};
