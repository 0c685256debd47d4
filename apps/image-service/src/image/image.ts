import type { ImageAttributes, ImageEvent, ImageMemberStatus } from '@omnivisor/contracts';

/** Glance's statuses that occur here. */
export type ImageStatus = 'queued' | 'saving' | 'active' | 'deactivated' | 'deleted';

/** An image as its stream tells it; null before it was created. */
export interface Image {
  readonly status: ImageStatus;
  readonly attributes: ImageAttributes;
  readonly properties: Readonly<Record<string, string>>;
  /** The upload that is under way, or the one whose bytes these are. */
  readonly uploadId: string | null;
  readonly members: Readonly<Record<string, ImageMemberStatus>>;
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
    case 'ImageDataUploaded':
    case 'ImageReactivated':
      return { ...state, status: 'active' };
    case 'ImageUploadRefused':
    case 'ImageUploadFailed':
      return { ...state, status: 'queued', uploadId: null };
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

export const evolveImage = (state: ImageState, event: ImageEvent): ImageState => {
  if (event.type === 'ImageCreated')
    return {
      status: 'queued',
      attributes: event.data.attributes,
      properties: event.data.properties,
      uploadId: null,
      members: {},
    };
  return state && apply(state, event);
};
