import { describeImage, type ImageFormat, type ImageId, notFound, signImageUrl } from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform';
import type { ImageContext } from '../core.js';
import type { ImageForms } from '../forms/image-forms.js';
import { formOf } from '../forms/stored-form.js';
import { bytesRow } from './byte-route.js';
import { expiryOf, signedUrl } from './byte-urls.js';
import { openHostUploadDesk } from './host-uploads.js';
import { imagesTable, snapshotOf } from './image.projection.js';
import { isVisible } from './image-access.js';

/** Answers what other services ask about images. */
export const openImageDesk = async (context: ImageContext, forms: ImageForms): Promise<Subscription[]> => {
  const { core, settings } = context;
  const queue = { queue: 'image-service' };
  const sign = async (imageId: ImageId, hostId: string, expiresIn: number, formats?: readonly ImageFormat[]) => {
    const row = await bytesRow(context, imageId);
    if (row?.status !== 'active') throw notFound(`Image ${imageId} has no bytes that may be used.`);
    const format = formats ? forms.choose(row, formats) : formOf(row);
    if (format) forms.prepare(row, format);
    const grant = {
      ...{ method: 'GET' as const, imageId, hostId, expires: expiryOf(context, expiresIn) },
      ...(format ? { format } : {}),
    };
    return { url: signedUrl(settings.internalUrl, settings.signingKey, grant), format };
  };
  return [
    await core.bus.respond(
      describeImage,
      async ({ imageId, projectId, isAdmin }) => {
        const row = await (await core.fresh()).get(imagesTable, imageId);
        if (!row || !isVisible(row, projectId, isAdmin)) return { image: null };
        const { status, visibility, owner } = row;
        return { image: { ...snapshotOf(row), status, visibility, owner } };
      },
      queue,
    ),
    await core.bus.respond(
      signImageUrl,
      ({ imageId, hostId, expiresIn, formats }) => sign(imageId, hostId, expiresIn, formats),
      queue,
    ),
    ...(await openHostUploadDesk(context)),
  ];
};
