import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { ImageId } from '../ids.js';
import { ImageFormat } from '../image-format.js';
import { GuestFacts, ImageReadiness } from '../image-readiness.js';
import { Bytes, Instant } from '../units.js';

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
/** One import request; Glance calls it a task. */
const task = { ...image, taskId: z.uuid() };
/** One conversion; the bytes it makes are stored under this key. */
const derivation = { ...image, derivationId: z.uuid(), format: ImageFormat };

export const imageEvents = eventSet({
  stream: 'image',
  writer: 'image-service',
  events: {
    ImageCreated: event(
      'An image was registered; it has no bytes yet.',
      z.object({
        ...image,
        attributes: ImageAttributes,
        properties: z.record(z.string(), z.string()),
        /** Set for a server's disk on its way between hosts: no image of the API, and gone when its time is up. */
        transfer: z.object({ expiresAt: Instant }).optional(),
        /** The image whose disk this one was made from, and what was done to it. */
        madeFrom: z.object({ imageId: ImageId, how: z.enum(['driverInjection']) }).optional(),
      }),
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
        /** The form of the bytes; none for a container that nobody looks into. */
        format: ImageFormat.optional(),
        /** SHA-256, hexadecimal; for hosts that check nothing else. */
        sha256: z.string().optional(),
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
    ImageStagingStarted: event('Bytes for a later import are arriving.', z.object(upload)),
    ImageStaged: event('Bytes for a later import are there; nobody has looked at them yet.', z.object(upload)),
    ImageImportStarted: event(
      'An import of bytes began.',
      z.object({
        ...task,
        ...upload,
        method: z.enum(['glance-direct', 'web-download', 'os-omnivisor-inject']),
        /** Where the bytes come from, without its query, which may hold a secret; null for staged bytes. */
        source: z.string().nullable(),
        /** Who asked for it, as tasks show it. */
        owner: z.string().nullable(),
      }),
    ),
    ImageImportSucceeded: event('The import is done: the image has its bytes.', z.object(task)),
    ImageImportFailed: event(
      'The import failed; none of its bytes are kept and the image waits for others.',
      z.object({ ...task, uploadId: z.uuid(), reason: z.string() }),
    ),
    ImageInspectionStarted: event(
      'A look at the guest in the image began; one that is not followed by what it found did not end well.',
      z.object(upload),
    ),
    ImageInspected: event(
      'The guest in the image was looked at: what it needs to boot, and where it can.',
      z.object({ ...upload, guest: GuestFacts, readiness: ImageReadiness }),
    ),
    ImageDerivationStarted: event('The bytes of the image are being converted.', z.object(derivation)),
    ImageDerived: event(
      'The bytes of the image are there in another form too.',
      z.object({
        ...derivation,
        size: Bytes,
        /** SHA-256, hexadecimal. */
        sha256: z.string(),
        /** True when no bytes are kept for it: it is put together from others each time. */
        composed: z.boolean(),
        /** The derived form that this one is put together from; null for the original. */
        base: ImageFormat.nullable(),
      }),
    ),
    ImageDerivationFailed: event(
      'A conversion failed; nothing of it is left.',
      z.object({ ...derivation, reason: z.string() }),
    ),
    ImageDerivationDropped: event(
      'A derived form was removed to make room; it can be made again.',
      z.object(derivation),
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
