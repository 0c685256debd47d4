import {
  Bytes,
  beginSnapshotImage,
  completeSnapshotImage,
  createDiskTransfer,
  DomainError,
  GiB,
  type HostId,
  type hostBus,
  type ImageFormat,
  type ImageId,
  MiB,
  type ServerSnapshot,
} from '@omnivisor/contracts';
import type { z } from 'zod';
import type { GatewayCore } from '../../../core/gateway-core.js';
import { SNAPSHOT_DEADLINE } from '../lifecycle/server-deadlines.js';
import { firstDiskOf, guestInPlace } from '../state/adopted-guest.js';
import type { ServerRow } from '../view/server.projection.js';

type Begin = z.input<typeof beginSnapshotImage.request>;
type Upload = z.input<typeof hostBus.snapshotUpload.reply>;

/** What the image service is asked for, now and by each host that goes on with it. */
export const uploadOf = ({ imageId, name, owner, format, maxBytes }: ServerSnapshot, hostId: HostId) => ({
  ...{ imageId, name, owner, format, maxBytes, hostId },
  expiresIn: SNAPSHOT_DEADLINE / 1_000,
});

/** Where a host sends the bytes of a server's open snapshot. Null when nobody waits for them any more. */
export const snapshotUpload = async (core: GatewayCore, server: ServerRow, hostId: HostId): Promise<Upload> => {
  const snapshot = server.operation?.snapshot;
  if (!snapshot || !server.pending) return null;
  const { imageId, format } = snapshot;
  // The image is there: what it is made of was said when it was asked for.
  const made = { minDisk: GiB.parse(0), minRam: MiB.parse(0), properties: {} };
  const begin = { context: contextOf(core, server), ...made, ...uploadOf(snapshot, hostId) };
  return unlessThere(core, imageId, format, () => core.bus.request(beginSnapshotImage, begin));
};

/** How long a disk waits for its new host. */
const KEPT = 7 * 86_400;

/** Where the source of a server that moves sends one of its disks. Null when it is not to. */
export const diskUpload = async (
  core: GatewayCore,
  server: ServerRow,
  hostId: HostId,
  disk: 'root' | 'ephemeral',
): Promise<Upload> => {
  const { migration } = server;
  const transferId = migration?.transfers?.[disk];
  if (!migration?.transfers || !transferId || !server.pending) return null;
  const { format } = migration.transfers;
  const { flavorBefore } = migration;
  const maxBytes = disk === 'root' ? mostBytes({ ...server, flavor: flavorBefore }) : wholeDisk(flavorBefore.ephemeral);
  const upload = { hostId, format, maxBytes, expiresIn: SNAPSHOT_DEADLINE / 1_000, keepFor: KEPT };
  const create = { context: contextOf(core, server), transferId, ...upload };
  return unlessThere(core, transferId, format, () => core.bus.request(createDiskTransfer, create));
};

const GIB = 1024 ** 3;
/** For a disk as large as its image, which the flavor leaves open. */
const UNKNOWN_DISK = 100;

/** A whole disk with the tables of its format. */
const wholeDisk = (gib: number) => Bytes.parse(Math.ceil(gib * GIB * 1.02) + 64 * 1024 ** 2);
type Disk = Pick<ServerRow, 'flavor' | 'image' | 'adoption'>;

/** What a server's disk has in GiB, as far as that is known: that of a guest which was adopted may be larger than its flavor's. */
export const diskOf = (server: Disk): number => {
  const guest = guestInPlace(server);
  return Math.max(server.flavor.disk, guest ? firstDiskOf(guest) : 0);
};

export const mostBytes = (server: Disk) => wholeDisk(diskOf(server) || Math.max(server.image.minDisk, UNKNOWN_DISK));

const contextOf = (core: GatewayCore, { pending }: ServerRow) =>
  ({
    actor: { kind: 'service', service: 'api-gateway' },
    requestId: pending!.requestId,
    correlationId: pending!.correlationId,
    causationId: pending!.eventId,
    commandId: core.ids.uuid(),
  }) as Begin['context'];

const unlessThere = async (
  core: GatewayCore,
  imageId: ImageId,
  format: ImageFormat,
  begin: () => Promise<{ url: string }>,
): Promise<Upload> => {
  try {
    return { url: (await begin()).url, format };
  } catch (error) {
    if (!(error instanceof DomainError) || error.kind !== 'conflict') throw error;
    // It does not wait for bytes: it has them, or is gone, which is the host's answer too.
    await core.bus.request(completeSnapshotImage, { imageId });
    return { url: null, format };
  }
};
