import { z } from 'zod';
import { CommandContext } from '../envelope.js';
import { HostId, ImageId } from '../ids.js';
import { ImageFormat } from '../image-format.js';
import { ImageReadiness } from '../image-readiness.js';
import { Bytes, GiB, MiB } from '../units.js';
import { endpoint } from './endpoint.js';

const expiresIn = z.number().int().positive();

/**
 * A URL for the bytes of an image, signed for one host and expiring after `expiresIn` seconds.
 *
 * `formats` are those the host's driver takes, best first. The image's own form wins when it is among them, else the
 * first that can be made of it; that is begun at once. `HEAD` of the URL tells size (`content-length`), form
 * (`x-image-format`) and SHA-256 (`etag: "sha256:…"`, missing for images uploaded before these were kept); while the
 * form is being made it waits for a while and then answers 503 with Retry-After. `x-image-derived` marks a form that is
 * not the image's own, whose SHA-512 is in the image's snapshot. `GET` says the same and takes one range.
 * @throws DomainError `notFound`; `unsupported` when none of the formats can be made of the image
 */
export const signImageUrl = endpoint(
  'image.sign-url',
  z.object({
    imageId: ImageId,
    hostId: HostId,
    expiresIn,
    formats: z.array(ImageFormat).min(1).optional(),
  }),
  z.object({
    url: z.string(),
    /** Null for a container that nobody looks into. */
    format: ImageFormat.nullable().optional(),
  }),
);

/**
 * Which hypervisors the guest in an image can boot on. An image that was not looked at yet is looked at now, before
 * others; who asks waits for that, some seconds at most.
 */
export const inspectImage = endpoint(
  'image.inspect',
  z.object({ imageId: ImageId }),
  /** Absent when nobody knows it yet, or the image is gone. */
  z.object({ readiness: ImageReadiness.optional() }),
  10_000,
);

const upload = {
  /** The one host that may send the bytes. */
  hostId: HostId,
  /** The form in which it sends them. */
  format: ImageFormat,
  /** More is refused. */
  maxBytes: Bytes,
  expiresIn,
};
const context = { context: CommandContext };

/**
 * An image that a host fills with a server's disk. Asking again for the same image gives a new URL. The host sends the
 * bytes by PUT; they are inspected like any upload, and make the image active.
 * @throws DomainError `conflict` for an image that is there and is another one, or has its bytes
 */
export const beginSnapshotImage = endpoint(
  'image.snapshot-begin',
  z.object({
    ...context,
    imageId: ImageId,
    name: z.string().max(255),
    /** Project that will own it. */
    owner: z.string(),
    minDisk: GiB,
    minRam: MiB,
    properties: z.record(z.string(), z.string()),
    ...upload,
  }),
  z.object({ url: z.string() }),
);

/**
 * What came of it.
 * @throws DomainError `conflict` while the bytes are not there; `notFound` when the image was deleted
 */
export const completeSnapshotImage = endpoint(
  'image.snapshot-complete',
  z.object({ imageId: ImageId }),
  z.object({ size: Bytes, sha512: z.string(), virtualSize: Bytes.nullable() }),
);

/** Removes the image unless it has its bytes already; its URL is worthless then. Of an image that is gone it succeeds. */
export const abortSnapshotImage = endpoint(
  'image.snapshot-abort',
  z.object({ ...context, imageId: ImageId }),
  z.object({ removed: z.boolean() }),
);

/**
 * A server's disk on its way to another host: sent by PUT like a snapshot, fetched by `signImageUrl` with the transfer's
 * id, in any form that can be made of it. It is no image of the API. It goes with `deleteDiskTransfer`, or `keepFor`
 * seconds after it was made.
 */
export const createDiskTransfer = endpoint(
  'image.transfer-create',
  z.object({ ...context, transferId: ImageId, keepFor: z.number().int().positive(), ...upload }),
  z.object({ url: z.string() }),
);

/** Of a transfer that is gone it succeeds. */
export const deleteDiskTransfer = endpoint(
  'image.transfer-delete',
  z.object({ ...context, transferId: ImageId }),
  z.object({}),
);
