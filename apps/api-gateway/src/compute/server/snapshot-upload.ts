import {
  beginSnapshotImage,
  completeSnapshotImage,
  DomainError,
  GiB,
  type HostId,
  type hostBus,
  MiB,
  type ServerSnapshot,
} from '@omnivisor/contracts';
import type { z } from 'zod';
import type { GatewayCore } from '../../core/gateway-core.js';
import type { ServerRow } from './server.projection.js';
import { SNAPSHOT_DEADLINE } from './server-deadlines.js';

type Begin = z.input<typeof beginSnapshotImage.request>;

/** What the image service is asked for, now and by each host that goes on with it. */
export const uploadOf = ({ imageId, name, owner, format, maxBytes }: ServerSnapshot, hostId: HostId) => ({
  ...{ imageId, name, owner, format, maxBytes, hostId },
  expiresIn: SNAPSHOT_DEADLINE / 1_000,
});

/** Where a host sends the bytes of a server's open snapshot. Null when nobody waits for them any more. */
export const snapshotUpload = async (
  core: GatewayCore,
  { operation, pending }: ServerRow,
  hostId: HostId,
): Promise<z.input<typeof hostBus.snapshotUpload.reply>> => {
  const snapshot = operation?.snapshot;
  if (!snapshot || !pending) return null;
  const { imageId, format } = snapshot;
  const context = {
    actor: { kind: 'service', service: 'api-gateway' },
    requestId: pending.requestId,
    correlationId: pending.correlationId,
    causationId: pending.eventId,
    commandId: core.ids.uuid(),
  } as Begin['context'];
  try {
    // The image is there: what it is made of was said when it was asked for.
    const made = { minDisk: GiB.parse(0), minRam: MiB.parse(0), properties: {} };
    const { url } = await core.bus.request(beginSnapshotImage, { context, ...made, ...uploadOf(snapshot, hostId) });
    return { url, format };
  } catch (error) {
    if (!(error instanceof DomainError) || error.kind !== 'conflict') throw error;
    // It does not wait for bytes: it has them, or is gone, which is the host's answer too.
    await core.bus.request(completeSnapshotImage, { imageId });
    return { url: null, format };
  }
};
