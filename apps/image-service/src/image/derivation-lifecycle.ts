import {
  type Bytes,
  conflict,
  type GuestFacts,
  type ImageEvent,
  type ImageFormat,
  type ImageId,
  type ImageReadiness,
} from '@omnivisor/contracts';
import type { Image } from './image.js';

export type DerivationCommand =
  | { readonly kind: 'startDerivation'; readonly derivationId: string; readonly format: ImageFormat }
  | {
      readonly kind: 'completeDerivation';
      readonly derivationId: string;
      readonly format: ImageFormat;
      readonly size: Bytes;
      readonly sha256: string;
      readonly composed: boolean;
      readonly base: ImageFormat | null;
    }
  | {
      readonly kind: 'failDerivation';
      readonly derivationId: string;
      readonly format: ImageFormat;
      readonly reason: string;
    }
  | { readonly kind: 'dropDerivation'; readonly derivationId: string; readonly format: ImageFormat }
  | {
      readonly kind: 'startInspection';
      readonly uploadId: string;
      /** Looks that the caller knows of: another one began meanwhile if there are more. */
      readonly looks: number;
    }
  | {
      readonly kind: 'completeInspection';
      readonly uploadId: string;
      readonly guest: GuestFacts;
      readonly readiness: ImageReadiness;
    };
type Of<K extends DerivationCommand['kind']> = Extract<DerivationCommand, { kind: K }>;

/** A form that is there, or being made by somebody, is not begun again. */
const start = (imageId: ImageId, { derivationId, format }: Of<'startDerivation'>, image: Image): ImageEvent[] => {
  if (image.status !== 'active') throw conflict(`Image ${imageId} has no bytes that may be used.`);
  if (image.derived[format]) return [];
  return [{ type: 'ImageDerivationStarted', data: { imageId, derivationId, format } }];
};

const complete = (imageId: ImageId, command: Of<'completeDerivation'>, image: Image): ImageEvent[] => {
  const { kind: _, ...data } = command;
  const form = image.derived[data.format];
  if (form?.id === data.derivationId && form.ready) return [];
  if (form?.id !== data.derivationId || (data.base !== null && !image.derived[data.base]?.ready))
    throw conflict('The conversion was given up meanwhile.');
  return [{ type: 'ImageDerived', data: { imageId, ...data } }];
};

/** A form goes, or is not made on; with it go those that are put together from it. */
const drop = (imageId: ImageId, { derivationId, format }: Of<'dropDerivation'>, image: Image): ImageEvent[] => {
  const form = image.derived[format];
  if (form?.id !== derivationId) return [];
  const resting = Object.entries(image.derived).filter(([, f]) => f?.ready && f.base === format);
  return [
    ...resting.map(([f, one]) => ({ derivationId: one!.id, format: f as ImageFormat })),
    { derivationId, format },
  ].map((data) => ({ type: 'ImageDerivationDropped' as const, data: { imageId, ...data } }));
};

export const decideDerivation = (imageId: ImageId, command: DerivationCommand, image: Image): ImageEvent[] => {
  switch (command.kind) {
    case 'startDerivation':
      return start(imageId, command, image);
    case 'completeDerivation':
      return complete(imageId, command, image);
    case 'failDerivation': {
      const { derivationId, format, reason } = command;
      const form = image.derived[format];
      if (form?.id !== derivationId || form.ready) return [];
      return [
        { type: 'ImageDerivationFailed', data: { imageId, derivationId, format, reason: reason.slice(0, 1_000) } },
      ];
    }
    case 'dropDerivation':
      return drop(imageId, command, image);
    case 'startInspection': {
      const { uploadId, looks } = command;
      if (image.inspected || image.uploadId !== uploadId || image.looks !== looks) return [];
      return [{ type: 'ImageInspectionStarted', data: { imageId, uploadId } }];
    }
    case 'completeInspection': {
      const { uploadId, guest, readiness } = command;
      if (image.inspected || image.uploadId !== uploadId) return [];
      return [{ type: 'ImageInspected', data: { imageId, uploadId, guest, readiness } }];
    }
  }
};
