import { describeImage, notFound, signImageUrl } from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform';
import type { ImageContext } from '../core.js';
import { signedUrl } from './byte-urls.js';
import { imagesTable, snapshotOf } from './image.projection.js';
import { isVisible } from './image-access.js';

const MAX_LIFETIME = 24 * 60 * 60;

/** Answers what other services ask about images. */
export const openImageDesk = async ({ core, settings }: ImageContext): Promise<Subscription[]> => {
  const queue = { queue: 'image-service' };
  return [
    await core.bus.respond(
      describeImage,
      async ({ imageId, projectId, isAdmin }) => {
        const row = await (await core.fresh()).get(imagesTable, imageId);
        if (!row || !isVisible(row, projectId, isAdmin)) return { image: null };
        const { status, visibility, owner, virtualSize } = row;
        return { image: { ...snapshotOf(row), status, visibility, owner, virtualSize } };
      },
      queue,
    ),
    await core.bus.respond(
      signImageUrl,
      async ({ imageId, hostId, expiresIn }) => {
        const row = await (await core.fresh()).get(imagesTable, imageId);
        if (row?.status !== 'active') throw notFound(`Image ${imageId} has no bytes that may be used.`);
        const now = Math.floor(Date.parse(core.clock.now()) / 1_000);
        const expires = now + Math.min(expiresIn, MAX_LIFETIME);
        return { url: signedUrl(settings.internalUrl, settings.signingKey, { imageId, hostId, expires }) };
      },
      queue,
    ),
  ];
};
