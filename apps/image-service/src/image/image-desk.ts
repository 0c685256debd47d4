import {
  describeImage,
  type ImageFormat,
  type ImageId,
  inspectImage,
  type Milliseconds,
  notFound,
  seconds,
  signImageUrl,
} from '@omnivisor/contracts';
import type { Clock, Subscription } from '@omnivisor/platform';
import type { ImageContext } from '../core.js';
import type { ImageForms } from '../forms/image-forms.js';
import { formOf } from '../forms/stored-form.js';
import { type GuestInspections, isUninspected } from '../guest/guest-inspections.js';
import { bytesRow } from './byte-route.js';
import { expiryOf, signedUrl } from './byte-urls.js';
import { openHostUploadDesk } from './host-uploads.js';
import { imagesTable, snapshotOf } from './image.projection.js';
import { isVisible } from './image-access.js';

/** How long a server that is being built waits for a look at its image. */
const LOOK_PATIENCE = seconds(5);

/** Resolves when `work` is done, or after `patience`. */
const within = async (clock: Clock, patience: Milliseconds, work: Promise<void>): Promise<void> => {
  let cancel = () => {};
  const late = new Promise<void>((resolve) => {
    cancel = clock.after(patience, resolve);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    cancel();
  }
};

/** Answers what other services ask about images. */
export const openImageDesk = async (
  context: ImageContext,
  forms: ImageForms,
  guests: GuestInspections | null,
): Promise<Subscription[]> => {
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
        const uninspected = guests && isUninspected(row) ? ({ uninspected: true } as const) : {};
        return { image: { ...snapshotOf(row), ...uninspected, status, visibility, owner } };
      },
      queue,
    ),
    await core.bus.respond(
      inspectImage,
      async ({ imageId }) => {
        const known = async () => (await core.fresh()).get(imagesTable, imageId);
        let row = await known();
        if (row && guests && isUninspected(row)) {
          await within(core.clock, LOOK_PATIENCE, guests.lookAt(imageId));
          row = await known();
        }
        return row?.readiness ? { readiness: row.readiness } : {};
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
