import { conflict, type ImageEvent, type ImageId, invalid } from '@omnivisor/contracts';
import type { Image } from './image.js';
import { transition } from './image-status.js';

export type ImportMethod = 'glance-direct' | 'web-download' | 'os-omnivisor-inject';

export type ImportCommand =
  | { readonly kind: 'startStaging' | 'completeStaging'; readonly uploadId: string }
  | {
      readonly kind: 'startImport';
      readonly taskId: string;
      readonly method: ImportMethod;
      /** Key for the bytes that are fetched; staged bytes have theirs. */
      readonly uploadId: string;
      readonly source: string | null;
      readonly owner: string | null;
    }
  | { readonly kind: 'failImport'; readonly taskId: string; readonly reason: string };
type Of<K extends ImportCommand['kind']> = Extract<ImportCommand, { kind: K }>;

const startImport = (imageId: ImageId, command: Of<'startImport'>, image: Image): ImageEvent[] => {
  const { taskId, method, source, owner } = command;
  if (image.taskId === taskId) return [];
  if (method === 'glance-direct' && !(image.status === 'uploading' && image.staged))
    throw conflict("Image needs to be in 'uploading' state to use 'glance-direct' method");
  if (method !== 'glance-direct' && image.status !== 'queued')
    throw conflict(`Image needs to be in 'queued' state to use '${method}' method`);
  for (const [field, name] of [
    ['containerFormat', 'container_format'],
    ['diskFormat', 'disk_format'],
  ] as const)
    if (!image.attributes[field]) throw invalid(`'${name}' needs to be set before import`);
  const uploadId = method === 'glance-direct' ? image.uploadId! : command.uploadId;
  return [{ type: 'ImageImportStarted', data: { imageId, taskId, uploadId, method, source, owner } }];
};

export const decideImport = (imageId: ImageId, command: ImportCommand, image: Image): ImageEvent[] => {
  switch (command.kind) {
    case 'startStaging':
      if (image.status !== 'queued') throw transition(image.status, 'uploading');
      return [{ type: 'ImageStagingStarted', data: { imageId, uploadId: command.uploadId } }];
    case 'completeStaging':
      if (image.status !== 'uploading' || image.uploadId !== command.uploadId) throw transition(image.status, 'staged');
      return image.staged ? [] : [{ type: 'ImageStaged', data: { imageId, uploadId: command.uploadId } }];
    case 'startImport':
      return startImport(imageId, command, image);
    case 'failImport':
      // An import that ended otherwise already is nobody's business any more.
      if (image.taskId !== command.taskId || image.uploadId === null) return [];
      return [
        {
          type: 'ImageImportFailed',
          data: {
            imageId,
            taskId: command.taskId,
            uploadId: image.uploadId,
            reason: command.reason.slice(0, 1_000),
          },
        },
      ];
  }
};
