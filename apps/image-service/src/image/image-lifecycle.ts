import {
  type Bytes,
  conflict,
  DomainError,
  forbidden,
  type ImageAttributes,
  type ImageEvent,
  type ImageFormat,
  type ImageId,
  type ImageMemberStatus,
  type Instant,
  imageEvents,
  notFound,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { type DerivationCommand, decideDerivation } from './derivation-lifecycle.js';
import { evolveImage, type Image, type ImageState } from './image.js';
import { assertSensible, assertWithin, type ImageChange, patchImage, tagSet, updated } from './image-patch.js';
import { assertFormats, transition } from './image-status.js';
import { decideImport, type ImportCommand } from './import-lifecycle.js';

export interface UploadedData {
  readonly size: Bytes;
  readonly checksum: string;
  readonly sha512: string;
  readonly virtualSize: Bytes | null;
  readonly detectedFormat: string;
  readonly format?: ImageFormat;
  readonly sha256?: string;
}

export type ImageCommand = { readonly imageId: ImageId } & (
  | {
      readonly kind: 'create';
      readonly attributes: ImageAttributes;
      readonly properties: Record<string, string>;
      readonly transfer?: { readonly expiresAt: Instant };
      readonly madeFrom?: { readonly imageId: ImageId; readonly how: 'driverInjection' };
    }
  | { readonly kind: 'patch'; readonly changes: readonly ImageChange[]; readonly isAdmin: boolean }
  | { readonly kind: 'addTag' | 'removeTag'; readonly tag: string }
  | { readonly kind: 'startUpload'; readonly uploadId: string }
  | ({ readonly kind: 'completeUpload'; readonly uploadId: string } & UploadedData)
  | { readonly kind: 'refuseUpload' | 'failUpload'; readonly uploadId: string; readonly reason: string }
  | { readonly kind: 'deactivate' | 'reactivate' | 'delete' }
  | { readonly kind: 'addMember' | 'removeMember'; readonly memberId: string }
  | { readonly kind: 'setMemberStatus'; readonly memberId: string; readonly status: ImageMemberStatus }
  | ImportCommand
  | DerivationCommand
);
type Of<K extends ImageCommand['kind']> = Extract<ImageCommand, { kind: K }>;

export const imageNotFound = (imageId: string): DomainError => notFound(`No image found with ID ${imageId}`);

/** The image went away while its bytes arrived; HTTP says 410. */
export class ImageGone extends DomainError {
  constructor(imageId: string) {
    super(
      'conflict',
      `Image ${imageId} could not be found after upload. The image may have been deleted during the upload, cleaning up the chunks uploaded.`,
    );
  }
}

const create = ({ imageId, attributes, properties, transfer, madeFrom }: Of<'create'>): ImageEvent[] => {
  assertSensible(attributes);
  assertWithin('tags', new Set(attributes.tags).size);
  assertWithin('properties', Object.keys(properties).length);
  return [
    {
      type: 'ImageCreated',
      data: {
        imageId,
        attributes: { ...attributes, tags: tagSet(attributes.tags) },
        properties,
        ...(transfer ? { transfer } : {}),
        ...(madeFrom ? { madeFrom } : {}),
      },
    },
  ];
};

const startUpload = ({ imageId, uploadId }: Of<'startUpload'>, image: Image): ImageEvent[] => {
  if (image.status !== 'queued') throw transition(image.status, 'saving');
  assertFormats(image);
  return [{ type: 'ImageUploadStarted', data: { imageId, uploadId } }];
};

const completeUpload = ({ kind: _, ...data }: Of<'completeUpload'>, image: Image): ImageEvent[] => {
  const { imageId, uploadId } = data;
  if ((image.status !== 'saving' && image.status !== 'importing') || image.uploadId !== uploadId)
    throw new ImageGone(imageId);
  return [
    { type: 'ImageDataUploaded', data },
    ...(image.taskId === null
      ? []
      : [{ type: 'ImageImportSucceeded' as const, data: { imageId, taskId: image.taskId } }]),
  ];
};

/** An upload that ended otherwise already is nobody's business any more. */
const endUpload = (
  { kind, imageId, uploadId, reason }: Of<'refuseUpload' | 'failUpload'>,
  image: Image,
): ImageEvent[] =>
  (image.status === 'saving' || (image.status === 'uploading' && !image.staged)) && image.uploadId === uploadId
    ? [
        {
          type: kind === 'refuseUpload' ? 'ImageUploadRefused' : 'ImageUploadFailed',
          data: { imageId, uploadId, reason: reason.slice(0, 1_000) },
        },
      ]
    : [];

const activate = (
  { kind, imageId }: { kind: 'deactivate' | 'reactivate'; imageId: ImageId },
  image: Image,
): ImageEvent[] => {
  const wanted = kind === 'deactivate' ? 'deactivated' : 'active';
  if (image.status === wanted) return [];
  if (image.status !== 'active' && image.status !== 'deactivated')
    throw forbidden(`Not allowed to ${kind} image in status '${image.status}'`);
  return [{ type: kind === 'deactivate' ? 'ImageDeactivated' : 'ImageReactivated', data: { imageId } }];
};

const tag = ({ kind, imageId, tag: text }: Of<'addTag' | 'removeTag'>, image: Image): ImageEvent[] => {
  const before = image.attributes.tags;
  if (kind === 'removeTag') {
    if (!before.includes(text)) throw notFound('The resource could not be found.');
    return updated(imageId, image, { tags: before.filter((t) => t !== text) }, {});
  }
  const tags = tagSet([...before, text]);
  if (tags.length > before.length) assertWithin('tags', tags.length);
  return updated(imageId, image, { tags }, {});
};

const membership = (command: Of<'addMember' | 'removeMember'> | Of<'setMemberStatus'>, image: Image): ImageEvent[] => {
  const { imageId, memberId } = command;
  if (image.attributes.visibility !== 'shared') throw forbidden('Only shared images have members.');
  const status = Object.hasOwn(image.members, memberId) ? image.members[memberId] : undefined;
  if (command.kind === 'addMember') {
    if (status !== undefined) throw conflict(`Member ${memberId} is duplicated for image ${imageId}`);
    assertWithin('members', Object.keys(image.members).length + 1);
    return [{ type: 'ImageMemberAdded', data: { imageId, memberId } }];
  }
  if (status === undefined) throw notFound(`${memberId} not found in the member list of the image ${imageId}.`);
  if (command.kind === 'setMemberStatus')
    return status === command.status
      ? []
      : [{ type: 'ImageMemberStatusChanged', data: { imageId, memberId, status: command.status } }];
  return [{ type: 'ImageMemberRemoved', data: { imageId, memberId } }];
};

/** What was to be done about an image that is gone. */
const HARMLESS: ReadonlySet<ImageCommand['kind']> = new Set([
  ...(['refuseUpload', 'failUpload', 'failImport'] as const),
  ...(['failDerivation', 'dropDerivation', 'completeInspection'] as const),
]);

export const decideImage = (command: ImageCommand, image: ImageState): ImageEvent[] => {
  const { imageId } = command;
  if (command.kind === 'create') {
    if (image) throw conflict(`Image ID ${imageId} already exists!`);
    return create(command);
  }
  if (!image || image.status === 'deleted') {
    if (HARMLESS.has(command.kind)) return [];
    throw command.kind === 'completeUpload' ? new ImageGone(imageId) : imageNotFound(imageId);
  }
  switch (command.kind) {
    case 'patch':
      return patchImage(imageId, image, command.changes, command.isAdmin);
    case 'addTag':
    case 'removeTag':
      return tag(command as Of<'addTag' | 'removeTag'>, image);
    case 'startUpload':
      return startUpload(command, image);
    case 'completeUpload':
      return completeUpload(command, image);
    case 'refuseUpload':
    case 'failUpload':
      return endUpload(command as Of<'refuseUpload' | 'failUpload'>, image);
    case 'startStaging':
    case 'completeStaging':
    case 'startImport':
    case 'failImport':
      return decideImport(imageId, command, image);
    case 'startDerivation':
    case 'completeDerivation':
    case 'failDerivation':
    case 'dropDerivation':
    case 'startInspection':
    case 'completeInspection':
      return decideDerivation(imageId, command, image);
    case 'deactivate':
    case 'reactivate':
      return activate({ kind: command.kind, imageId }, image);
    case 'delete':
      if (image.attributes.protected) throw forbidden(`Image ${imageId} is protected and cannot be deleted.`);
      return [{ type: 'ImageDeleted', data: { imageId } }];
    default:
      return membership(command as Of<'addMember' | 'removeMember'> | Of<'setMemberStatus'>, image);
  }
};

export const imageAggregate: Aggregate<ImageState, ImageCommand, ImageEvent> = {
  events: imageEvents,
  initial: null,
  decide: decideImage,
  evolve: evolveImage,
};
