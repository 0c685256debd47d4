import type { Readable } from 'node:stream';
import {
  abortSnapshotImage,
  after,
  beginSnapshotImage,
  type CommandContext,
  completeSnapshotImage,
  conflict,
  createDiskTransfer,
  deleteDiskTransfer,
  glanceFormat,
  type ImageAttributes,
  type ImageFormat,
  ImageId,
  notFound,
  seconds,
} from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform';
import type { FastifyInstance } from 'fastify';
import type { ImageContext } from '../core.js';
import { serviceContext } from '../service-context.js';
import { bytesRow, queryOf, type Statuses, say, sayWhy } from './byte-route.js';
import { BYTES_PATH, expiryOf, grantedBy, signedUrl } from './byte-urls.js';
import { imageAggregate } from './image-lifecycle.js';
import type { ImageUploads } from './image-uploads.js';

interface Upload {
  readonly hostId: string;
  readonly format: ImageFormat;
  readonly maxBytes: number;
  readonly expiresIn: number;
}

const attributesOf = (
  format: ImageFormat,
  more: Pick<ImageAttributes, 'name' | 'owner' | 'minDisk' | 'minRam'>,
): ImageAttributes => {
  const { disk, container } = glanceFormat(format);
  return {
    ...{ diskFormat: disk, containerFormat: container, visibility: 'private' },
    ...{ protected: false, hidden: false, tags: [] },
    ...more,
  };
};

/** Makes images and transfers that wait for the bytes of one host. */
class HostUploads {
  constructor(private readonly context: ImageContext) {}

  /** Asking again gives a new URL for what is there already, as long as it waits for its bytes and is the same. */
  async begin(
    imageId: ImageId,
    attributes: ImageAttributes,
    properties: Record<string, string>,
    upload: Upload,
    context: CommandContext,
    keepFor?: number,
  ): Promise<{ url: string }> {
    const { core } = this.context;
    const transfer = keepFor === undefined ? undefined : { expiresAt: after(core.clock.now(), seconds(keepFor)) };
    const create = { kind: 'create', imageId, attributes, properties, ...(transfer ? { transfer } : {}) } as const;
    const known = await core.commands.load(imageAggregate, imageId);
    if (!known) await core.commands.execute(imageAggregate, imageId, create, context);
    const state = known ?? (await core.commands.load(imageAggregate, imageId));
    const same =
      state?.status === 'queued' &&
      state.isTransfer === (keepFor !== undefined) &&
      state.attributes.owner === attributes.owner &&
      state.attributes.diskFormat === attributes.diskFormat;
    if (!same) throw conflict(`Image ${imageId} is there already and does not wait for these bytes.`);
    return { url: this.url(imageId, upload) };
  }

  async completed(imageId: ImageId) {
    const row = await bytesRow(this.context, imageId);
    if (!row) throw notFound(`No image found with ID ${imageId}`);
    if (row.status !== 'active' || row.size === null || row.sha512 === null)
      throw conflict(`The bytes of image ${imageId} are not there.`);
    return { size: row.size, sha512: row.sha512, virtualSize: row.virtualSize };
  }

  /** @param always also when the bytes are there */
  async remove(imageId: ImageId, context: CommandContext, always: boolean): Promise<boolean> {
    const { core, store } = this.context;
    const state = await core.commands.load(imageAggregate, imageId);
    if (!state || state.status === 'deleted') return false;
    if (always !== state.isTransfer) throw conflict(`${imageId} is of another kind.`);
    if (!always && (state.status === 'active' || state.status === 'deactivated')) return false;
    await core.commands.execute(imageAggregate, imageId, { kind: 'delete', imageId }, context);
    if (state.uploadId && state.status === 'active') await store.remove(state.uploadId);
    return true;
  }

  private url(imageId: ImageId, { hostId, maxBytes, expiresIn }: Upload): string {
    const { settings } = this.context;
    const grant = { method: 'PUT', imageId, hostId, maxBytes, expires: expiryOf(this.context, expiresIn) } as const;
    return signedUrl(settings.internalUrl, settings.signingKey, grant);
  }
}

/** Answers the gateway about disks that hosts send. */
export const openHostUploadDesk = async (images: ImageContext): Promise<Subscription[]> => {
  const { bus } = images.core;
  const uploads = new HostUploads(images);
  const queue = { queue: 'image-service' };
  return [
    await bus.respond(
      beginSnapshotImage,
      ({ context, imageId, name, owner, minDisk, minRam, properties, ...upload }) =>
        uploads.begin(
          imageId,
          attributesOf(upload.format, { name, owner, minDisk, minRam }),
          properties,
          upload,
          context,
        ),
      queue,
    ),
    await bus.respond(completeSnapshotImage, ({ imageId }) => uploads.completed(imageId), queue),
    await bus.respond(
      abortSnapshotImage,
      async ({ imageId, context }) => ({ removed: await uploads.remove(imageId, context, false) }),
      queue,
    ),
    await bus.respond(
      createDiskTransfer,
      ({ context, transferId, keepFor, ...upload }) =>
        uploads.begin(
          transferId,
          attributesOf(upload.format, { name: null, owner: null, minDisk: 0, minRam: 0 }),
          {},
          upload,
          context,
          keepFor,
        ),
      queue,
    ),
    await bus.respond(
      deleteDiskTransfer,
      async ({ transferId, context }) => {
        await uploads.remove(transferId, context, true);
        return {};
      },
      queue,
    ),
  ];
};

const STATUS: Statuses = {
  ...{ invalid: 400, forbidden: 403, notFound: 404, conflict: 409, tooLarge: 413, unsupportedMedia: 415 },
};

/** Takes the bytes that a host sends by its signed URL: those of one image that waits for them, once. */
export const mountUploadRoute = (fastify: FastifyInstance, context: ImageContext, uploads: ImageUploads): void => {
  const { core, settings } = context;
  fastify.put<{ Params: { id: string } }>(`${BYTES_PATH}/:id`, async (request, reply) => {
    const { id } = request.params;
    const grant = grantedBy(settings.signingKey, 'PUT', id, queryOf(request), Date.parse(core.clock.now()));
    if (grant?.method !== 'PUT') return say(reply, 403);
    const image = await bytesRow(context, id);
    if (!image) return say(reply, 404);
    const length = request.headers['content-length'];
    const step = (name: string): CommandContext => ({
      ...serviceContext(image.id, name),
      actor: { kind: 'service', service: `host-${grant.hostId}` },
      commandId: core.ids.uuid() as CommandContext['commandId'],
    });
    const declared = length === undefined ? undefined : Number(length);
    try {
      await uploads.receive(image, request.body as Readable, declared, step, grant.maxBytes);
      return say(reply, 204);
    } catch (error) {
      return sayWhy(reply, error, STATUS);
    }
  });
};
