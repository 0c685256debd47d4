import { createHmac, timingSafeEqual } from 'node:crypto';

/** Path of the bytes for compute agents; no OpenStack API lies below it. */
export const BYTES_PATH = '/image-bytes';

export interface ByteGrant {
  readonly imageId: string;
  readonly hostId: string;
  /** Seconds since 1970 after which the URL is worthless. */
  readonly expires: number;
}

const signature = (key: Buffer, { imageId, hostId, expires }: ByteGrant): Buffer =>
  createHmac('sha256', key).update(`GET ${BYTES_PATH}\n${imageId}\n${hostId}\n${expires}`).digest();

/** A URL that gives one host the bytes of one image until it expires, and nothing else. */
export const signedUrl = (base: string, key: Buffer, grant: ByteGrant): string => {
  const query = new URLSearchParams({
    host: grant.hostId,
    expires: String(grant.expires),
    sig: signature(key, grant).toString('base64url'),
  });
  return `${base}${BYTES_PATH}/${grant.imageId}?${query}`;
};

/** True when the signature is ours for exactly this and has not expired. */
export const isGranted = (
  key: Buffer,
  imageId: string,
  query: Readonly<Record<string, string | undefined>>,
  now: number,
): boolean => {
  const { host = '', expires = '', sig = '' } = query;
  const given = Buffer.from(sig, 'base64url');
  const sound = /^\d{1,12}$/.test(expires);
  const right = signature(key, { imageId, hostId: host, expires: sound ? Number(expires) : 0 });
  return given.length === right.length && timingSafeEqual(given, right) && sound && Number(expires) * 1_000 > now;
};
