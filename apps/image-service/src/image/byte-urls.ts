import { createHmac, timingSafeEqual } from 'node:crypto';
import { ImageFormat } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';

/** Path of the bytes for compute agents; no OpenStack API lies below it. */
export const BYTES_PATH = '/image-bytes';

interface Grant {
  readonly imageId: string;
  readonly hostId: string;
  /** Seconds since 1970 after which the URL is worthless. */
  readonly expires: number;
}
/** Reading bytes in one form; none for a container that is passed on as it is. */
export interface ReadGrant extends Grant {
  readonly method: 'GET';
  readonly format?: ImageFormat | undefined;
}
/** Sending the bytes of an image that waits for them. */
export interface WriteGrant extends Grant {
  readonly method: 'PUT';
  readonly maxBytes: number;
}
export type ByteGrant = ReadGrant | WriteGrant;

/** What a URL says besides image and signature. */
const fieldsOf = (grant: ByteGrant): Record<string, string> => ({
  host: grant.hostId,
  expires: String(grant.expires),
  ...(grant.method === 'GET' ? (grant.format ? { format: grant.format } : {}) : { max: String(grant.maxBytes) }),
});

const signature = (key: Buffer, grant: ByteGrant): Buffer =>
  createHmac('sha256', key)
    .update(`${grant.method} ${BYTES_PATH}\n${grant.imageId}\n${new URLSearchParams(fieldsOf(grant))}`)
    .digest();

/** A URL that gives one host one right to the bytes of one image until it expires, and nothing else. */
export const signedUrl = (base: string, key: Buffer, grant: ByteGrant): string => {
  const query = new URLSearchParams({ ...fieldsOf(grant), sig: signature(key, grant).toString('base64url') });
  return `${base}${BYTES_PATH}/${grant.imageId}?${query}`;
};

const NUMBER = /^(0|[1-9]\d{0,15})$/;

const claimed = (
  method: 'GET' | 'PUT',
  imageId: string,
  { host = '', expires = '', format, max = '' }: Readonly<Record<string, string | undefined>>,
): ByteGrant | null => {
  const known = format === undefined ? undefined : ImageFormat.safeParse(format).data;
  if (!NUMBER.test(expires) || (format !== undefined && known === undefined)) return null;
  const grant = { imageId, hostId: host, expires: Number(expires) };
  if (method === 'GET') return { method, ...grant, format: known };
  return NUMBER.test(max) ? { method, ...grant, maxBytes: Number(max) } : null;
};

/** What the URL grants, when the signature is ours for exactly this and it has not expired; else null. */
export const grantedBy = (
  key: Buffer,
  method: 'GET' | 'PUT',
  imageId: string,
  query: Readonly<Record<string, string | undefined>>,
  now: number,
): ByteGrant | null => {
  const grant = claimed(method, imageId, query);
  const given = Buffer.from(query.sig ?? '', 'base64url');
  const right = signature(key, grant ?? { method: 'GET', imageId, hostId: '', expires: 0 });
  const same = given.length === right.length && timingSafeEqual(given, right);
  return grant && same && grant.expires * 1_000 > now ? grant : null;
};

/** Seconds that an address of bytes is good for at most. */
const MAX_LIFETIME = 24 * 60 * 60;

/** When an address ends that is to be good for so many seconds; seconds since 1970. */
export const expiryOf = ({ core }: Pick<ImageContext, 'core'>, expiresIn: number): number =>
  Math.floor(Date.parse(core.clock.now()) / 1_000) + Math.min(expiresIn, MAX_LIFETIME);
