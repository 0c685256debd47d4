import {
  type GuestFacts,
  type ImageAttributes,
  type ImageEvent,
  type ImageFormat,
  type ImageId,
  type ImageMemberStatus,
  type ImageReadiness,
  type ImageSnapshot,
  type Instant,
  imageEvents,
  type RecordedEvent,
} from '@omnivisor/contracts';
import { type Projection, projection, type Recorded, table } from '@omnivisor/eventsourcing';
import { formsProjection } from './forms.projection.js';
import { emptyImage, evolveImage, type ImageStatus } from './image.js';
import { taskProjection } from './tasks.projection.js';

export interface ImageMemberRow {
  readonly memberId: string;
  readonly status: ImageMemberStatus;
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** An image as lists filter it. Times are RFC 3339 without fractions, as Glance has them. */
export interface ImageRow extends ImageAttributes {
  readonly id: ImageId;
  readonly status: ImageStatus;
  readonly properties: Record<string, string>;
  /** `key=value`, one per custom property. */
  readonly propertyTexts: string[];
  readonly uploadId: string | null;
  readonly size: number | null;
  readonly virtualSize: number | null;
  readonly checksum: string | null;
  readonly sha512: string | null;
  /** Missing for bytes that came before it was kept. */
  readonly sha256?: string;
  /** The form of the bytes, as far as the inspection said. */
  readonly format?: ImageFormat;
  readonly staged?: boolean;
  readonly taskId?: string | null;
  /** Set only in rows of transfers. */
  readonly transferExpiresAt?: Instant;
  readonly readiness?: ImageReadiness;
  /** Looks at the guest inside that began, and when the last one did. */
  readonly looks?: { readonly count: number; readonly lastAt: Instant };
  readonly members: ImageMemberRow[];
  /** Member ids by what they said: `accepted:<id>`, and `all:<id>`. */
  readonly memberTexts: string[];
  readonly createdAt: string;
  readonly updatedAt: string;
  /** Position of its first event: order of creation within a second. */
  readonly created: number;
}

export const imagesTable = table<ImageRow>(
  'images_v1',
  ['owner', 'createdAt'],
  ['visibility', 'createdAt'],
  ['createdAt'],
  ['name'],
  ['status'],
);

const second = (event: RecordedEvent): string => `${event.recordedAt.slice(0, 19)}Z`;

const memberTexts = (members: readonly ImageMemberRow[]): string[] =>
  members.flatMap((m) => [`${m.status}:${m.memberId}`, `all:${m.memberId}`]);
export const propertyText = (key: string, value: string): string => `${key}=${value}`;

const members = (row: ImageRow, event: Recorded<ImageEvent>): ImageMemberRow[] => {
  const at = second(event);
  switch (event.type) {
    case 'ImageMemberAdded':
      return [...row.members, { memberId: event.data.memberId, status: 'pending', createdAt: at, updatedAt: at }];
    case 'ImageMemberStatusChanged':
      return row.members.map((m) =>
        m.memberId === event.data.memberId ? { ...m, status: event.data.status, updatedAt: at } : m,
      );
    case 'ImageMemberRemoved':
      return row.members.filter((m) => m.memberId !== event.data.memberId);
    default:
      return row.members;
  }
};

const bytesOf = (row: ImageRow | undefined, event: Recorded<ImageEvent>) => {
  if (event.type === 'ImageDataUploaded') {
    const { size, virtualSize, checksum, sha512, sha256, format } = event.data;
    return {
      ...{ size, virtualSize, checksum, sha512 },
      ...(sha256 === undefined ? {} : { sha256 }),
      ...(format === undefined ? {} : { format }),
    };
  }
  return {
    size: row?.size ?? null,
    virtualSize: row?.virtualSize ?? null,
    checksum: row?.checksum ?? null,
    sha512: row?.sha512 ?? null,
    ...(row?.sha256 === undefined ? {} : { sha256: row.sha256 }),
    ...(row?.format === undefined ? {} : { format: row.format }),
  };
};

/** Membership and what is found out about the bytes are no change of the image itself. */
const touches = (type: string) => !type.startsWith('ImageMember') && !type.startsWith('ImageInspect');

const next = (row: ImageRow | undefined, event: Recorded<ImageEvent>): ImageRow | undefined => {
  const before = row
    ? {
        ...emptyImage,
        ...{ status: row.status, attributes: row, properties: row.properties, uploadId: row.uploadId },
        ...{ staged: row.staged ?? false, taskId: row.taskId ?? null },
      }
    : null;
  const state = evolveImage(before, event as unknown as ImageEvent);
  if (!state || state.status === 'deleted') return undefined;
  const list = row ? members(row, event) : [];
  const { name, owner, diskFormat, containerFormat, visibility, hidden, minDisk, minRam, tags } = state.attributes;
  return {
    id: event.data.imageId,
    status: state.status,
    ...{ name, owner, diskFormat, containerFormat, visibility, hidden, minDisk, minRam, tags },
    protected: state.attributes.protected,
    properties: { ...state.properties },
    propertyTexts: Object.entries(state.properties).map(([k, v]) => propertyText(k, v)),
    uploadId: state.uploadId,
    ...bytesOf(row, event),
    ...(state.staged ? { staged: true } : {}),
    ...(state.taskId === null ? {} : { taskId: state.taskId }),
    ...readinessOf(row, event),
    ...looksOf(row, event),
    members: list,
    memberTexts: memberTexts(list),
    createdAt: row?.createdAt ?? second(event),
    updatedAt: !row || touches(event.type) ? second(event) : row.updatedAt,
    created: row?.created ?? event.position,
  };
};

const readinessOf = (row: ImageRow | undefined, event: Recorded<ImageEvent>): Pick<ImageRow, 'readiness'> => {
  if (event.type === 'ImageInspected') return { readiness: event.data.readiness };
  return row?.readiness === undefined ? {} : { readiness: row.readiness };
};

const looksOf = (row: ImageRow | undefined, event: Recorded<ImageEvent>): Pick<ImageRow, 'looks'> => {
  if (event.type === 'ImageInspectionStarted')
    return { looks: { count: (row?.looks?.count ?? 0) + 1, lastAt: event.recordedAt } };
  return row?.looks === undefined ? {} : { looks: row.looks };
};

const imageKey = (event: RecordedEvent) => (event.data as { imageId: string }).imageId;
const isTransfer = (event: Recorded<ImageEvent>) => event.type === 'ImageCreated' && event.data.transfer !== undefined;
/** Derived forms have a table of their own. */
const onImages = (row: typeof next) =>
  Object.fromEntries(
    Object.keys(imageEvents.events)
      .filter((type) => !/^Image(Deriv|ImportSucceeded)/.test(type))
      .map((type) => [type, { key: imageKey, row }]),
  ) as never;

export const imageProjection = projection<ImageEvent, ImageRow>(
  imagesTable,
  onImages((row, event) => (isTransfer(event) ? undefined : next(row, event))),
);

/** Disks on their way between hosts: images in all but the API. */
export const transfersTable = table<ImageRow>('image_transfers_v1', ['transferExpiresAt']);
export const transferProjection = projection<ImageEvent, ImageRow>(
  transfersTable,
  onImages((row, event) => {
    if (event.type === 'ImageCreated')
      return event.data.transfer && { ...next(row, event)!, transferExpiresAt: event.data.transfer.expiresAt };
    const after = row && next(row, event);
    return after && { ...after, transferExpiresAt: row.transferExpiresAt! };
  }),
);

/** What is to become of stored bytes. Only `dead` ones may be removed; what the log does not know is left alone. */
export interface BlobRow {
  readonly uploadId: string;
  readonly imageId: ImageId;
  readonly state: 'arriving' | 'kept' | 'dead';
}
export const blobsTable = table<BlobRow>('image_blobs_v1', ['imageId'], ['state']);

const blob = (state: BlobRow['state']) => ({
  key: (event: RecordedEvent<string, unknown>) => blobKey(event),
  row: (_: BlobRow | undefined, event: { data: { imageId: ImageId } }, key: string): BlobRow => ({
    uploadId: key,
    imageId: event.data.imageId,
    state,
  }),
});
/** An upload and a conversion each keep their bytes under their own id. */
const blobKey = ({ data }: RecordedEvent<string, unknown>): string => {
  const { uploadId, derivationId } = data as { uploadId?: string; derivationId?: string };
  return (uploadId ?? derivationId)!;
};

export const blobProjection = projection<ImageEvent, BlobRow>(blobsTable, {
  ImageUploadStarted: blob('arriving'),
  ImageStagingStarted: blob('arriving'),
  ImageImportStarted: blob('arriving'),
  ImageDataUploaded: blob('kept'),
  ImageUploadRefused: blob('dead'),
  ImageUploadFailed: blob('dead'),
  ImageImportFailed: blob('dead'),
  ImageDerivationStarted: blob('arriving'),
  ImageDerived: blob('kept'),
  ImageDerivationFailed: blob('dead'),
  ImageDerivationDropped: blob('dead'),
});

/** Images that were deleted: bytes that carry their id are dead. */
export interface DeletedImageRow {
  readonly imageId: ImageId;
}
export const deletedImagesTable = table<DeletedImageRow>('deleted_images_v1');
export const deletedImageProjection = projection<ImageEvent, DeletedImageRow>(deletedImagesTable, {
  ImageDeleted: { key: (event) => event.data.imageId, row: (_, event) => ({ imageId: event.data.imageId }) },
});

/** What was found of the guest in an image. */
export interface GuestRow {
  readonly imageId: ImageId;
  readonly uploadId: string;
  readonly guest: GuestFacts;
  readonly readiness: ImageReadiness;
}
export const guestsTable = table<GuestRow>('image_guests_v1');
export const guestProjection = projection<ImageEvent, GuestRow>(guestsTable, {
  ImageInspected: { key: (event) => event.data.imageId, row: (_, { data }) => ({ ...data }) },
  ImageDeleted: { key: (event) => event.data.imageId, row: () => undefined },
});

export const imageProjections: readonly Projection[] = [
  imageProjection,
  transferProjection,
  formsProjection,
  guestProjection,
  taskProjection,
  blobProjection,
  deletedImageProjection,
] as unknown as readonly Projection[];

/** What a server keeps of its image. */
export const snapshotOf = (row: ImageRow): ImageSnapshot => ({
  id: row.id,
  name: row.name,
  diskFormat: row.diskFormat ?? '',
  containerFormat: row.containerFormat ?? '',
  size: (row.size ?? 0) as ImageSnapshot['size'],
  virtualSize: row.virtualSize as ImageSnapshot['size'] | null,
  minDisk: row.minDisk as ImageSnapshot['minDisk'],
  minRam: row.minRam as ImageSnapshot['minRam'],
  sha512: row.sha512 ?? '',
  properties: row.properties,
  ...(row.readiness && Object.keys(row.readiness).length > 0 ? { readiness: row.readiness } : {}),
});
