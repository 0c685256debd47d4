import { z } from 'zod';
import { type EventOf, event, eventSet, personal, VaultRef } from '../event-set.js';
import {
  FlavorId,
  HostId,
  ImageId,
  MigrationId,
  NetworkId,
  PortId,
  ProjectId,
  ProviderId,
  SecurityGroupId,
  ServerId,
  SubnetId,
  UserId,
} from '../ids.js';
import { ImageFormat } from '../image-format.js';
import { ImageReadiness } from '../image-readiness.js';
import { Bytes, GiB, Instant, MiB } from '../units.js';

/** The flavor as it was when the server was made; later changes of the flavor do not touch the server. */
export const FlavorSnapshot = z.object({
  id: FlavorId,
  name: z.string(),
  vcpus: z.number().int().positive(),
  memory: MiB,
  /** Root disk; 0 means the image's own size. */
  disk: GiB,
  ephemeral: GiB,
  swap: MiB,
  extraSpecs: z.record(z.string(), z.string()),
});
export type FlavorSnapshot = z.infer<typeof FlavorSnapshot>;

const imageFacts = z.object({
  id: ImageId,
  name: z.string().nullable(),
  diskFormat: z.string(),
  containerFormat: z.string(),
  size: Bytes,
  /** Of the disk inside; null or absent where nobody knows it. */
  virtualSize: Bytes.nullable().optional(),
  minDisk: GiB,
  minRam: MiB,
  /** SHA-512 of the bytes, hexadecimal (`os_hash_value`). */
  sha512: z.string(),
  /** Custom properties such as `hw_disk_bus`, `os_type`, `hypervisor_type`. */
  properties: z.record(z.string(), z.string()),
});

/** The image as it was when the server was made: what scheduling and spawning need of it. */
export const ImageSnapshot = imageFacts.extend({
  /** Which hypervisors the guest inside can boot on; absent while nobody knows. */
  readiness: ImageReadiness.optional(),
  /** Its bytes had just come: nobody had looked at the guest inside yet. */
  uninspected: z.literal(true).optional(),
  /** What its hypervisor starts instead of the disk's boot loader: the images that `kernel_id` and `ramdisk_id` name. */
  kernel: imageFacts.optional(),
  ramdisk: imageFacts.optional(),
});
export type ImageSnapshot = z.infer<typeof ImageSnapshot>;

export const RequestedNetwork = z.object({
  networkId: NetworkId.nullable(),
  portId: PortId.nullable(),
  fixedIp: z.string().nullable(),
  tag: z.string().nullable(),
  /** Of a network interface that is there already. */
  mac: z.string().optional(),
  /** Its port is made without port security. */
  portSecurity: z.literal(false).optional(),
});
export type RequestedNetwork = z.infer<typeof RequestedNetwork>;

/** A port of a server, with what the guest sees of it. */
export const ServerPort = z.object({
  portId: PortId,
  networkId: NetworkId,
  networkName: z.string(),
  mac: z.string(),
  fixedIps: z.array(
    z.object({ subnetId: SubnetId, address: z.string(), version: z.union([z.literal(4), z.literal(6)]) }),
  ),
  /** True when this server's build made the port, so that its deletion removes it. */
  ours: z.boolean(),
  tag: z.string().nullable(),
});
export type ServerPort = z.infer<typeof ServerPort>;

/** Nova's fault of a server in ERROR: `code` as in HTTP, `message` for the owner. */
export const ServerFault = z.object({ code: z.number().int(), message: z.string(), details: z.string().optional() });
export type ServerFault = z.infer<typeof ServerFault>;

export const PowerState = z.enum(['running', 'paused', 'suspended', 'shutdown', 'crashed', 'noState']);
export type PowerState = z.infer<typeof PowerState>;

/** A guest that somebody else made, as its hypervisor tells of it. */
export const AdoptedGuest = z.object({
  /** Names it on its host; opaque. */
  nativeId: z.string(),
  name: z.string(),
  power: PowerState,
  vcpus: z.number().int(),
  memory: MiB,
  /** Disks in their order; bytes. */
  disks: z.array(z.object({ name: z.string(), size: z.number() })),
  nics: z.array(z.object({ mac: z.string(), network: z.string().nullable() })),
});
export type AdoptedGuest = z.infer<typeof AdoptedGuest>;

/** A change of power that was asked for. Its generation makes the edge a level: each is done once. */
export const PowerOperation = z.enum([
  'start',
  'stop',
  'softReboot',
  'hardReboot',
  'pause',
  'unpause',
  'suspend',
  'resume',
]);
export type PowerOperation = z.infer<typeof PowerOperation>;

/** What a server's host carries out, once each. */
export const ServerOperation = z.enum([
  ...PowerOperation.options,
  'rebuild',
  'rescue',
  'unrescue',
  'snapshot',
  'resize',
  'confirmResize',
  'revertResize',
  'migrate',
  'liveMigrate',
]);
export type ServerOperation = z.infer<typeof ServerOperation>;

/** An image that is made of a server. */
export const ServerSnapshot = z.object({
  imageId: ImageId,
  name: z.string(),
  /** Project that owns the image. */
  owner: z.string(),
  /** The form in which the host sends its bytes, and how many at most. */
  format: ImageFormat,
  maxBytes: Bytes,
});
export type ServerSnapshot = z.infer<typeof ServerSnapshot>;

/** A server's disks on their way to another host, as the image service knows them. */
export const DiskTransfers = z.object({
  /** The form in which the source sends them. */
  format: ImageFormat,
  root: ImageId,
  ephemeral: ImageId.nullable(),
});
export type DiskTransfers = z.infer<typeof DiskTransfers>;

const Generation = z.number().int().nonnegative();
const Attempt = z.number().int().positive();
const server = { serverId: ServerId };
const onHost = { serverId: ServerId, host: HostId, attempt: Attempt };

const place = { hostName: z.string(), node: z.string(), providerId: ProviderId, availabilityZone: z.string() };

const requested = (doc: string) => event(doc, z.object({ ...server, generation: Generation }));
const migration = {
  generation: Generation,
  migrationId: MigrationId,
  /** Name of the host that an administrator demanded. */
  requestedHost: z.string().nullable(),
};
const settled = z.object({ ...onHost, generation: Generation, power: PowerState, bootId: z.string() });
const done = (doc: string) => event(doc, settled);

/** What is asked for of a server that is to come. */
const asked = {
  ...server,
  projectId: ProjectId,
  userId: UserId,
  name: z.string(),
  hostname: z.string(),
  description: personal(z.string().nullable()),
  image: ImageSnapshot,
  flavor: FlavorSnapshot,
  keyName: z.string().nullable(),
  publicKey: personal(z.string().nullable()),
  networks: z.union([z.literal('auto'), z.literal('none'), z.array(RequestedNetwork)]),
  securityGroups: z.array(SecurityGroupId),
  metadata: z.record(z.string(), z.string()),
  tags: z.array(z.string()),
  availabilityZone: z.string().nullable(),
  /** Host or hypervisor hostname demanded by an administrator. */
  requestedHost: z.string().nullable(),
  hints: z.record(z.string(), z.unknown()),
  configDrive: z.boolean(),
  userData: VaultRef.nullable(),
  /** Files that were asked for with the server (`personality`). */
  injectedFiles: VaultRef.optional(),
  reservationId: z.string(),
  launchIndex: z.number().int().nonnegative(),
  accessIpV4: z.string().optional(),
  accessIpV6: z.string().optional(),
  diskConfig: z.enum(['AUTO', 'MANUAL']).optional(),
};

export const serverEvents = eventSet({
  stream: 'server',
  writer: 'api-gateway',
  subject: ({ projectId }) => (typeof projectId === 'string' ? { kind: 'project', id: projectId } : null),
  events: {
    ServerCreateRequested: event('A user asked for a server; it is accepted and will be built.', z.object(asked)),
    ServerAdoptionRequested: event(
      'An administrator asked to make a guest that is there already a server: it goes on as it is.',
      z.object({ ...asked, adoption: AdoptedGuest }),
    ),
    ServerReleaseRequested: event(
      'An administrator asked to give an adopted guest back: it goes on as it is, and is no server any more.',
      z.object(server),
    ),
    ServerCreateAbandoned: event(
      'A request for a server never got beyond its quota reservation; the id is barred so that it cannot come late.',
      z.object(server),
    ),
    ServerPortsAllocated: event(
      'The server got its ports and addresses.',
      z.object({ ...server, ports: z.array(ServerPort) }),
    ),
    ServerScheduled: event(
      'The scheduler claimed a host for this attempt to build the server.',
      z.object({ ...onHost, ...place }),
    ),
    ServerAttemptAbandoned: event(
      'An attempt to build will not be used; a claim made for it may be released, a late schedule for it is refused.',
      z.object({ ...server, attempt: Attempt, reason: z.string() }),
    ),
    ServerSpawned: event(
      'The host reported the guest of this attempt as running.',
      z.object({ ...onHost, power: PowerState, bootId: z.string() }),
    ),
    ServerSpawnFailed: event(
      'The host could not spawn this attempt, and says that nothing of it is left.',
      z.object({ ...onHost, reason: z.string() }),
    ),
    ServerBuildFailed: event('The server could not be built.', z.object({ ...server, fault: ServerFault })),

    ServerStartRequested: requested('A user asked to power the server on.'),
    ServerStarted: done('The server was powered on.'),
    ServerStopRequested: requested('A user asked to power the server off.'),
    ServerStopped: done('The server was powered off.'),
    ServerRebootRequested: event(
      'A user asked to reboot the server.',
      z.object({ ...server, generation: Generation, kind: z.enum(['soft', 'hard']) }),
    ),
    ServerRebooted: done('The server was rebooted.'),
    ServerPauseRequested: requested('A user asked to pause the server.'),
    ServerPaused: done('The server was paused.'),
    ServerUnpauseRequested: requested('A user asked to unpause the server.'),
    ServerUnpaused: done('The server was unpaused.'),
    ServerSuspendRequested: requested('A user asked to suspend the server: its memory goes to disk.'),
    ServerSuspended: done('The server was suspended.'),
    ServerResumeRequested: requested('A user asked to resume the suspended server.'),
    ServerResumed: done('The server goes on where it was suspended.'),
    ServerRebuildRequested: event(
      'A user asked to make the disks of the server anew from an image; what is named here changes with it.',
      z.object({
        ...server,
        generation: Generation,
        image: ImageSnapshot,
        /** False: the server was off, and stays so. */
        powerOn: z.boolean(),
        name: z.string().optional(),
        description: personal(z.string().nullable()).optional(),
        hostname: z.string().optional(),
        metadata: z.record(z.string(), z.string()).optional(),
        keyName: z.string().nullable().optional(),
        publicKey: personal(z.string().nullable()).optional(),
        userData: VaultRef.nullable().optional(),
        injectedFiles: VaultRef.optional(),
        accessIpV4: z.string().optional(),
        accessIpV6: z.string().optional(),
        diskConfig: z.enum(['AUTO', 'MANUAL']).optional(),
      }),
    ),
    ServerRebuilt: done('The server has its new disks.'),
    ServerRescueRequested: event(
      'A user asked to start the server from a rescue image, with its own disk beside it.',
      z.object({ ...server, generation: Generation, image: ImageSnapshot }),
    ),
    ServerRescued: done('The server runs from its rescue image.'),
    ServerUnrescueRequested: requested('A user asked to start the server from its own disk again.'),
    ServerUnrescued: done('The server runs from its own disk again.'),
    ServerSnapshotRequested: event(
      'A user asked to make an image of the server; it waits for its bytes.',
      z.object({ ...server, generation: Generation, snapshot: ServerSnapshot }),
    ),
    ServerSnapshotTaken: done('The image of the server has its bytes.'),
    ServerSnapshotDropped: event(
      'An image that was asked for of the server will not come; it was removed, unless it had its bytes after all.',
      z.object({ ...server, imageId: ImageId }),
    ),
    ServerResizeRequested: event(
      'A user asked to give the server another flavor.',
      z.object({
        ...server,
        generation: Generation,
        flavor: FlavorSnapshot,
        diskConfig: z.enum(['AUTO', 'MANUAL']).optional(),
        migrationId: MigrationId.optional(),
      }),
    ),
    ServerResizeScheduled: event(
      'The scheduler claimed what the other flavor takes, under an attempt of its own, on the host of the server.',
      z.object({ ...server, host: HostId, attempt: Attempt }),
    ),
    ServerResized: done('The server has the other flavor; what it was before is kept until somebody decides.'),
    ServerResizeConfirmRequested: requested('A user asked to keep the other flavor.'),
    ServerResizeConfirmed: event(
      'What the server was before its resize was given up, with the claim for it.',
      settled.extend({ released: Attempt }),
    ),
    ServerResizeRevertRequested: requested('A user asked to go back to what the server was before its resize.'),
    ServerResizeReverted: event(
      'The server is what it was before its resize; the claim for the other flavor ended.',
      settled.extend({ released: Attempt }),
    ),

    ServerMigrateRequested: event(
      'Somebody asked to move the server to another host: it is off meanwhile.',
      z.object({ ...server, ...migration }),
    ),
    ServerLiveMigrateRequested: event(
      'Somebody asked to move the running server to another host.',
      z.object({
        ...server,
        ...migration,
        disks: z.enum(['copied', 'shared']),
        /** Of disks that are copied: not where both hosts have them. */
        mayShare: z.literal(true).optional(),
      }),
    ),
    ServerMigrationScheduled: event(
      'The scheduler claimed another host for the server, under an attempt of its own; its host sends it there.',
      z.object({
        ...onHost,
        ...place,
        /** Null for a guest that moves with its memory. */
        disks: DiskTransfers.nullable(),
      }),
    ),
    ServerMigrationSent: done(
      'The source has sent all of the server: the guest is off there, or runs on the target. It is not started there again.',
    ),
    ServerMigrationLanded: event(
      'The server and its ports belong to the other host now.',
      z.object({
        ...onHost,
        /** What the target makes its disks of; null when they came with the guest. */
        disks: z.object({ root: ImageSnapshot, ephemeral: ImageSnapshot.nullable() }).nullable(),
      }),
    ),
    ServerMigrated: done(
      'The server is on its other host; after a cold move what it was is kept until somebody decides.',
    ),
    ServerMigrationConfirmed: requested(
      'A user kept the server where it moved to; what its source has of it is to be destroyed.',
    ),
    ServerMigrationFailed: event(
      'A move did not come to its end: the server goes back to its source.',
      z.object({ ...server, generation: Generation, fault: ServerFault }),
    ),
    ServerMigrationReturned: event('The server and its ports belong to its source again.', z.object(onHost)),
    ServerMigrationForceRequested: event(
      'Somebody asked to bring a live migration to its end, though the guest stands still for it.',
      z.object(server),
    ),
    ServerMigrationAbortRequested: event('Somebody asked to give up a live migration.', z.object(server)),
    ServerTransferDropped: event(
      "A copy of the server's disk that was made for its move is gone.",
      z.object({ ...server, transferId: ImageId }),
    ),
    ServerQuotaSettled: event('The quota holds what the flavor of the server takes.', z.object(server)),
    ServerActionFailed: event(
      'An action did not end well, or not before its deadline.',
      z.object({
        ...server,
        action: z.string(),
        fault: ServerFault,
        power: PowerState.nullable(),
        /** Its host was not heard of: what was asked of it is still asked, and counts when it is reported. */
        unheard: z.literal(true).optional(),
      }),
    ),

    ServerCrashDumpRequested: event(
      "A user asked for an interrupt that makes the guest's kernel write a crash dump.",
      z.object(server),
    ),
    ServerCrashDumpTriggered: event('The guest got the interrupt.', z.object(server)),
    ServerCrashDumpFailed: event('The guest did not get the interrupt.', z.object({ ...server, fault: ServerFault })),

    ServerPasswordChangeRequested: event(
      'A user asked for another password of the administrator inside the guest; the password is kept nowhere.',
      z.object({ ...server, user: z.string() }),
    ),
    ServerPasswordChanged: event('The guest has changed the password.', z.object(server)),
    ServerPasswordChangeFailed: event(
      'The guest has not changed the password, or was not heard of.',
      z.object({ ...server, fault: ServerFault }),
    ),

    ServerInterfaceAttachRequested: event(
      "A user asked for another network interface; its port is the server's from now on.",
      z.object({ ...server, port: ServerPort, at: Instant }),
    ),
    ServerInterfaceAttached: event('The guest has the interface.', z.object({ ...onHost, portId: PortId })),
    ServerInterfaceAttachFailed: event(
      'The guest did not get the interface. Its host makes sure that nothing of it is left.',
      z.object({ ...server, portId: PortId, fault: ServerFault }),
    ),
    ServerInterfaceDetachRequested: event(
      'A user asked to take a network interface from the server.',
      z.object({ ...server, portId: PortId, at: Instant }),
    ),
    ServerInterfaceDetached: event(
      "The host confirmed that nothing of the interface is left; its port is no longer the server's.",
      z.object({ ...onHost, portId: PortId }),
    ),
    ServerInterfaceDetachFailed: event(
      'The guest did not let go of the interface; it keeps it.',
      z.object({ ...server, portId: PortId, fault: ServerFault }),
    ),
    ServerInterfaceReleased: event(
      'The port of a detached interface was deleted, or given back to its owner.',
      z.object({ ...server, portId: PortId }),
    ),

    ServerPowerChanged: event(
      'The power of the guest changed though nobody asked for it here.',
      z.object({ ...onHost, power: PowerState, cause: z.enum(['guest', 'hostBoot']), bootId: z.string() }),
    ),
    ServerGuestMissing: event('The host no longer has the guest of a server that was spawned.', z.object(onHost)),
    ServerGuestLost: event(
      'The host that the server is on has left the cloud for good.',
      z.object({ ...onHost, fault: ServerFault }),
    ),
    ServerGuestAbsent: event(
      'The host confirmed that nothing of this attempt is left on it; its claim can be released.',
      z.object({
        ...onHost,
        /** True: nobody confirmed it, the host has left the cloud for good. */
        retired: z.boolean().optional(),
        /** Its claims, when they are of other attempts too: since a resize. */
        claims: z.array(Attempt).optional(),
      }),
    ),
    ServerGuestQuarantined: event(
      "The host has a guest that carries this server's mark although nothing asks for it; it is left alone.",
      z.object(onHost),
    ),

    ServerLocked: event(
      'The server was locked against changes by others.',
      z.object({ ...server, reason: z.string().nullable(), by: z.enum(['owner', 'admin']) }),
    ),
    ServerUnlocked: event('The server was unlocked.', z.object(server)),
    ServerRenamed: event('The display name changed.', z.object({ ...server, name: z.string() })),
    ServerDescriptionChanged: event(
      'The description changed.',
      z.object({ ...server, description: personal(z.string().nullable()) }),
    ),
    ServerHostnameChanged: event(
      'The hostname in the metadata changed.',
      z.object({ ...server, hostname: z.string() }),
    ),
    ServerPresentationChanged: event(
      'What the owner keeps on record of the server changed: its access addresses, its disk configuration.',
      z.object({
        ...server,
        accessIpV4: z.string().optional(),
        accessIpV6: z.string().optional(),
        diskConfig: z.enum(['AUTO', 'MANUAL']).optional(),
      }),
    ),
    ServerZonePinned: event(
      'The server is bound to an availability zone from now on, or to none.',
      z.object({ ...server, availabilityZone: z.string().nullable() }),
    ),
    ServerMetadataChanged: event(
      'The metadata of the server is now this.',
      z.object({ ...server, metadata: z.record(z.string(), z.string()) }),
    ),
    ServerTagsChanged: event(
      'The tags of the server are now these.',
      z.object({ ...server, tags: z.array(z.string()) }),
    ),
    ServerSecurityGroupsChanged: event(
      'The security groups of the server are now these. Of older releases: a change is told by the ports.',
      z.object({ ...server, securityGroups: z.array(SecurityGroupId) }),
    ),
    ServerStateReset: event(
      'An administrator set the state by hand.',
      z.object({
        ...server,
        state: z.enum(['active', 'error']),
        /** The host goes on with what it was asked for, and what it tells of that counts. */
        keepsOperation: z.literal(true).optional(),
      }),
    ),

    ServerDeleteRequested: event('A user asked to delete the server.', z.object(server)),
    ServerDeleted: event(
      'The server is gone for its owner. Where its host has not confirmed it yet, a tombstone stays.',
      z.object({ ...server, at: Instant, hostConfirmed: z.boolean() }),
    ),
    ServerResourcesReleased: event('Ports and quota of the deleted server were given back.', z.object(server)),
  },
});
export type ServerEvent = EventOf<typeof serverEvents>;
