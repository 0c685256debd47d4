import type { Actor, CommandContext, FlavorSnapshot, PowerState, ServerFault } from '@omnivisor/contracts';
import { isoSeconds } from '../compute/common/paging.js';
import type { ServerRow } from '../compute/server/view/server.projection.js';
import { type NovaObject, novaObject } from './nova-object.js';

/** Nova's words for power states in notifications. */
const POWER: Readonly<Record<PowerState, string>> = {
  noState: 'pending',
  running: 'running',
  paused: 'paused',
  shutdown: 'shutdown',
  crashed: 'crashed',
  suspended: 'suspended',
};

const time = (instant: string | null): string | null => (instant === null ? null : isoSeconds(instant));

const embeddedFlavor = (flavor: FlavorSnapshot): NovaObject =>
  novaObject('FlavorPayload', '1.4', {
    flavorid: flavor.id,
    name: flavor.name,
    root_gb: flavor.disk,
    vcpus: flavor.vcpus,
    ephemeral_gb: flavor.ephemeral,
    memory_mb: flavor.memory,
    swap: flavor.swap,
    extra_specs: flavor.extraSpecs,
    disabled: false,
    // A server keeps of its flavor what it was built of, and no more.
    rxtx_factor: 1,
    projects: null,
    is_public: true,
    vcpu_weight: 0,
    description: null,
  });

const addresses = (row: ServerRow): NovaObject[] =>
  (row.vmState === 'building' ? [] : (row.ports ?? [])).flatMap((port) =>
    port.fixedIps.map((ip) =>
      novaObject('IpPayload', '1.0', {
        label: port.networkName,
        mac: port.mac,
        meta: {},
        port_uuid: port.portId,
        version: ip.version,
        address: ip.address,
        device_name: null,
      }),
    ),
  );

const initiator = (actor: Actor, row: ServerRow) =>
  actor.kind === 'user'
    ? { action_initiator_user: actor.userId, action_initiator_project: actor.projectId }
    : { action_initiator_user: row.userId, action_initiator_project: row.projectId };

/** What all payloads about a server have. */
const serverData = (row: ServerRow, { actor, requestId }: CommandContext) => ({
  uuid: row.id,
  user_id: row.userId,
  tenant_id: row.projectId,
  reservation_id: row.reservationId,
  display_name: row.name,
  display_description: row.description,
  host_name: row.hostname,
  host: row.host,
  node: row.node,
  os_type: row.image.properties.os_type ?? null,
  architecture: row.image.properties.hw_architecture ?? row.image.properties.architecture ?? null,
  availability_zone: row.availabilityZone,
  flavor: embeddedFlavor(row.flavor),
  image_uuid: row.image.id,
  key_name: row.keyName,
  kernel_id: row.image.kernel?.id ?? '',
  ramdisk_id: row.image.ramdisk?.id ?? '',
  created_at: time(row.createdAt),
  launched_at: time(row.launchedAt),
  terminated_at: time(row.terminatedAt),
  deleted_at: row.deleted ? time(row.terminatedAt) : null,
  updated_at: time(row.updatedAt),
  state: row.vmState,
  power_state: POWER[row.power],
  task_state: row.taskState,
  progress: 0,
  ip_addresses: addresses(row),
  block_devices: [],
  metadata: row.metadata,
  locked: row.locked,
  locked_reason: row.lockedReason,
  auto_disk_config: row.diskConfig ?? 'MANUAL',
  request_id: requestId,
  shares: [],
  ...initiator(actor, row),
});

const exception = (fault: ServerFault): NovaObject =>
  novaObject('ExceptionPayload', '1.1', {
    module_name: 'omnivisor',
    function_name: 'unknown',
    exception: fault.code === 500 ? 'NoValidHost' : 'InstanceFault',
    exception_message: fault.message,
    traceback: '',
  });

export const actionPayload = (row: ServerRow, context: CommandContext, fault: ServerFault | null): NovaObject =>
  novaObject('InstanceActionPayload', '1.9', {
    ...serverData(row, context),
    fault: fault && exception(fault),
  });

export const rebuildPayload = (row: ServerRow, context: CommandContext, fault: ServerFault | null): NovaObject =>
  novaObject('InstanceActionRebuildPayload', '1.10', {
    ...serverData(row, context),
    fault: fault && exception(fault),
    trusted_image_certificates: null,
  });

export const rescuePayload = (row: ServerRow, context: CommandContext, imageId: string | null): NovaObject =>
  novaObject('InstanceActionRescuePayload', '1.4', {
    ...serverData(row, context),
    fault: null,
    rescue_image_ref: imageId,
  });

export const createPayload = (row: ServerRow, context: CommandContext, fault: ServerFault | null): NovaObject =>
  novaObject('InstanceCreatePayload', '1.13', {
    ...serverData(row, context),
    fault: fault && exception(fault),
    keypairs:
      row.keyName === null || row.publicKey === null
        ? []
        : [
            novaObject('KeypairPayload', '1.0', {
              user_id: row.userId,
              name: row.keyName,
              fingerprint: null,
              public_key: row.publicKey,
              type: 'ssh',
            }),
          ],
    tags: row.tags,
    trusted_image_certificates: null,
    instance_name: `instance-${row.id}`,
  });

/** @param before the row before the event; undefined for a server that begins */
export const updatePayload = (row: ServerRow, before: ServerRow | undefined, context: CommandContext): NovaObject =>
  novaObject('InstanceUpdatePayload', '2.1', {
    ...serverData(row, context),
    state_update: novaObject('InstanceStateUpdatePayload', '1.0', {
      old_state: before?.vmState ?? null,
      state: row.vmState,
      old_task_state: before?.taskState ?? null,
      new_task_state: row.taskState,
    }),
    audit_period: novaObject('AuditPeriodPayload', '1.0', {
      audit_period_beginning: `${row.updatedAt.slice(0, 7)}-01T00:00:00Z`,
      audit_period_ending: time(row.updatedAt),
    }),
    old_display_name: before && before.name !== row.name ? before.name : null,
    tags: row.tags,
  });
