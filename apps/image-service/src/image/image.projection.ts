import {
  type ImageAttributes,
  type ImageEvent,
  type ImageId,
  type ImageMemberStatus,
  type ImageSnapshot,
  imageEvents,
  type RecordedEvent,
} from '@omnivisor/contracts';
import { type Projection, projection, type Recorded, table } from '@omnivisor/eventsourcing';
import { evolveImage, type ImageStatus } from './image.js';

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
    const { size, virtualSize, checksum, sha512 } = event.data;
    return { size, virtualSize, checksum, sha512 };
  }
  return {
    size: row?.size ?? null,
    virtualSize: row?.virtualSize ?? null,
    checksum: row?.checksum ?? null,
    sha512: row?.sha512 ?? null,
  };
};

/** Membership is no change of the image itself. */
const touches = (type: string) => !type.startsWith('ImageMember');

const next = (row: ImageRow | undefined, event: Recorded<ImageEvent>): ImageRow | undefined => {
  const before = row
    ? { status: row.status, attributes: row, properties: row.properties, uploadId: row.uploadId, members: {} }
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
    members: list,
    memberTexts: memberTexts(list),
    createdAt: row?.createdAt ?? second(event),
    updatedAt: !row || touches(event.type) ? second(event) : row.updatedAt,
    created: row?.created ?? event.position,
  };
};

const onImage = { key: (event: RecordedEvent) => (event.data as { imageId: string }).imageId, row: next };

export const imageProjection = projection<ImageEvent, ImageRow>(
  imagesTable,
  Object.fromEntries(Object.keys(imageEvents.events).map((type) => [type, onImage])) as never,
);

/** What is to become of stored bytes. Only `dead` ones may be removed; what the log does not know is left alone. */
export interface BlobRow {
  readonly uploadId: string;
  readonly imageId: ImageId;
  readonly state: 'arriving' | 'kept' | 'dead';
}
export const blobsTable = table<BlobRow>('image_blobs_v1', ['imageId'], ['state']);

const blob = (state: BlobRow['state']) => ({
  key: (event: { data: { uploadId: string } }) => event.data.uploadId,
  row: (_: BlobRow | undefined, event: { data: { uploadId: string; imageId: ImageId } }): BlobRow => ({
    uploadId: event.data.uploadId,
    imageId: event.data.imageId,
    state,
  }),
});

export const blobProjection = projection<ImageEvent, BlobRow>(blobsTable, {
  ImageUploadStarted: blob('arriving'),
  ImageDataUploaded: blob('kept'),
  ImageUploadRefused: blob('dead'),
  ImageUploadFailed: blob('dead'),
});

/** Images that were deleted: bytes that carry their id are dead. */
export interface DeletedImageRow {
  readonly imageId: ImageId;
}
export const deletedImagesTable = table<DeletedImageRow>('deleted_images_v1');
export const deletedImageProjection = projection<ImageEvent, DeletedImageRow>(deletedImagesTable, {
  ImageDeleted: { key: (event) => event.data.imageId, row: (_, event) => ({ imageId: event.data.imageId }) },
});

export const imageProjections: readonly Projection[] = [
  imageProjection,
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
  minDisk: row.minDisk as ImageSnapshot['minDisk'],
  minRam: row.minRam as ImageSnapshot['minRam'],
  sha512: row.sha512 ?? '',
  properties: row.properties,
});
