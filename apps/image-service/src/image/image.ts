import type { ImageAttributes, ImageEvent, ImageFormat, ImageMemberStatus } from '@omnivisor/contracts';

/** Glance's statuses that occur here. */
export type ImageStatus = 'queued' | 'saving' | 'uploading' | 'importing' | 'active' | 'deactivated' | 'deleted';

/** Another form of the image's bytes. */
export interface DerivedForm {
  readonly id: string;
  readonly ready: boolean;
  /** The derived form it is put together from, if it is. */
  readonly base: ImageFormat | null;
}

/** An image as its stream tells it; null before it was created. */
export interface Image {
  readonly status: ImageStatus;
  readonly attributes: ImageAttributes;
  readonly properties: Readonly<Record<string, string>>;
  /** The upload that is under way, or the one whose bytes these are. */
  readonly uploadId: string | null;
  readonly members: Readonly<Record<string, ImageMemberStatus>>;
  /** True while `uploading` once the bytes for an import are complete. */
  readonly staged: boolean;
  /** The import that is under way. */
  readonly taskId: string | null;
  readonly isTransfer: boolean;
  /** Looks at the guest inside that began. */
  readonly looks: number;
  /** True once the guest inside was looked at. */
  readonly inspected: boolean;
  readonly derived: Readonly<Partial<Record<ImageFormat, DerivedForm>>>;
}
export type ImageState = Image | null;

const without = <V>(record: Readonly<Record<string, V>>, key: string): Record<string, V> => {
  const { [key]: _, ...rest } = record;
  return rest;
};

/** Properties after a change in which null removes one. */
export const changedProperties = (
  before: Readonly<Record<string, string>>,
  changes: Readonly<Record<string, string | null>>,
): Record<string, string> => {
  const after = { ...before };
  for (const [key, value] of Object.entries(changes))
    if (value === null) delete after[key];
    else after[key] = value;
  return after;
};

const withForm = (state: Image, format: ImageFormat, form: DerivedForm): Image => ({
  ...state,
  derived: { ...state.derived, [format]: form },
});

const apply = (state: Image, event: Exclude<ImageEvent, { type: 'ImageCreated' }>): Image => {
  switch (event.type) {
    case 'ImageUpdated':
      return {
        ...state,
        attributes: { ...state.attributes, ...(event.data.attributes as Partial<ImageAttributes>) },
        properties: changedProperties(state.properties, event.data.properties),
      };
    case 'ImageUploadStarted':
      return { ...state, status: 'saving', uploadId: event.data.uploadId };
    case 'ImageStagingStarted':
      return { ...state, status: 'uploading', uploadId: event.data.uploadId, staged: false };
    case 'ImageStaged':
      return { ...state, staged: true };
    case 'ImageImportStarted':
      return { ...state, status: 'importing', uploadId: event.data.uploadId, taskId: event.data.taskId };
    case 'ImageImportSucceeded':
      return { ...state, taskId: null };
    case 'ImageDataUploaded':
    case 'ImageReactivated':
      return { ...state, status: 'active', staged: false };
    case 'ImageUploadRefused':
    case 'ImageUploadFailed':
    case 'ImageImportFailed':
      return { ...state, status: 'queued', uploadId: null, staged: false, taskId: null };
    case 'ImageInspectionStarted':
      return { ...state, looks: state.looks + 1 };
    case 'ImageInspected':
      return { ...state, inspected: true };
    case 'ImageDerivationStarted':
      return withForm(state, event.data.format, { id: event.data.derivationId, ready: false, base: null });
    case 'ImageDerived':
      return withForm(state, event.data.format, { id: event.data.derivationId, ready: true, base: event.data.base });
    case 'ImageDerivationFailed':
    case 'ImageDerivationDropped':
      return { ...state, derived: without(state.derived as Record<string, DerivedForm>, event.data.format) };
    case 'ImageDeactivated':
      return { ...state, status: 'deactivated' };
    case 'ImageMemberAdded':
      return { ...state, members: { ...state.members, [event.data.memberId]: 'pending' } };
    case 'ImageMemberStatusChanged':
      return { ...state, members: { ...state.members, [event.data.memberId]: event.data.status } };
    case 'ImageMemberRemoved':
      return { ...state, members: without(state.members, event.data.memberId) };
    case 'ImageDeleted':
      return { ...state, status: 'deleted' };
  }
};

export const emptyImage = {
  status: 'queued',
  uploadId: null,
  members: {},
  staged: false,
  taskId: null,
  isTransfer: false,
  looks: 0,
  inspected: false,
  derived: {},
} as const satisfies Partial<Image>;

export const evolveImage = (state: ImageState, event: ImageEvent): ImageState => {
  if (event.type === 'ImageCreated')
    return {
      ...emptyImage,
      attributes: event.data.attributes,
      properties: event.data.properties,
      isTransfer: event.data.transfer !== undefined,
    };
  return state && apply(state, event);
};
