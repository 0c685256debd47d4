import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { ImageId } from '../ids.js';
import { Bytes } from '../units.js';

export const ImageVisibility = z.enum(['public', 'community', 'shared', 'private']);
export type ImageVisibility = z.infer<typeof ImageVisibility>;
export const ImageMemberStatus = z.enum(['pending', 'accepted', 'rejected']);
export type ImageMemberStatus = z.infer<typeof ImageMemberStatus>;

/** What can be set of an image, custom properties apart. */
export const ImageAttributes = z.object({
  name: z.string().nullable(),
  /** Project that owns the image; null for nobody. */
  owner: z.string().nullable(),
  diskFormat: z.string().nullable(),
  containerFormat: z.string().nullable(),
  visibility: ImageVisibility,
  protected: z.boolean(),
  /** Left out of lists that do not ask for it (`os_hidden`). */
  hidden: z.boolean(),
  /** GiB. */
  minDisk: z.number().int().nonnegative(),
  /** MiB. */
  minRam: z.number().int().nonnegative(),
  /** Sorted, each once. */
  tags: z.array(z.string()),
});
export type ImageAttributes = z.infer<typeof ImageAttributes>;

const image = { imageId: ImageId };
/** One upload; the bytes are stored under this key. */
const upload = { ...image, uploadId: z.uuid() };
const member = { ...image, memberId: z.string() };

export const imageEvents = eventSet({
  stream: 'image',
  writer: 'image-service',
  events: {
    ImageCreated: event(
      'An image was registered; it has no bytes yet.',
      z.object({ ...image, attributes: ImageAttributes, properties: z.record(z.string(), z.string()) }),
    ),
    ImageUpdated: event(
      'Attributes or custom properties of the image are now these; what is not named stays. Null removes a property.',
      z.object({
        ...image,
        attributes: ImageAttributes.partial(),
        properties: z.record(z.string(), z.string().nullable()),
      }),
    ),
    ImageUploadStarted: event('Bytes of the image are arriving.', z.object(upload)),
    ImageDataUploaded: event(
      'The bytes of the image are complete, inspected and durable; they never change again.',
      z.object({
        ...upload,
        size: Bytes,
        /** MD5, hexadecimal; Glance's `checksum`. */
        checksum: z.string(),
        /** SHA-512, hexadecimal. */
        sha512: z.string(),
        /** Size of the disk inside; null when the format does not tell. */
        virtualSize: Bytes.nullable(),
        /** What the inspection found: `raw`, `gpt`, `qcow2`, … */
        detectedFormat: z.string(),
      }),
    ),
    ImageUploadRefused: event(
      'The inspection refused the bytes; none of them are kept and the image waits for others.',
      z.object({ ...upload, reason: z.string() }),
    ),
    ImageUploadFailed: event(
      'The upload broke off; none of its bytes are kept and the image waits for others.',
      z.object({ ...upload, reason: z.string() }),
    ),
    ImageDeactivated: event('The bytes of the image may not be used for now.', z.object(image)),
    ImageReactivated: event('The bytes of the image may be used again.', z.object(image)),
    ImageMemberAdded: event('The image was offered to a project.', z.object(member)),
    ImageMemberStatusChanged: event(
      'A project accepted or rejected an image it was offered.',
      z.object({ ...member, status: ImageMemberStatus }),
    ),
    ImageMemberRemoved: event('The image is no longer shared with a project.', z.object(member)),
    ImageDeleted: event('The image is gone; its bytes are removed afterwards.', z.object(image)),
  },
});
export type ImageEvent = EventOf<typeof imageEvents>;
