import type { IncomingHttpHeaders } from 'node:http';
import { invalid } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import type { ByteRange } from '../store/index.js';

/** Names the bytes of an image, or of a form of it: no others have it. */
export const etagOf = ({ sha256, sha512 }: { sha256?: string | null; sha512?: string | null }): string =>
  sha256 ? `"sha256:${sha256}"` : `"sha512:${sha512}"`;

/**
 * The range that a request asks for; undefined when it asks for none, or by If-Range for one of other bytes than these,
 * null when it cannot be satisfied.
 * @throws invalid
 */
export const rangeOf = (
  { range: header, 'if-range': of }: IncomingHttpHeaders,
  size: number,
  etag: string,
): ByteRange | undefined | null => {
  if (header === undefined || (of !== undefined && of !== etag)) return undefined;
  if (header.includes(','))
    throw invalid(
      'Requests with multiple ranges are not supported in Glance. You may make multiple single-range requests instead.',
    );
  const match = /^\s*bytes\s*=\s*(\d{0,15})\s*-\s*(\d{0,15})\s*$/i.exec(header);
  const [, first = '', last = ''] = match ?? [];
  if (!match || (first === '' && last === '')) return null;
  if (first === '')
    return Number(last) === 0 || size === 0 ? null : { start: Math.max(0, size - Number(last)), end: size - 1 };
  const start = Number(first);
  const end = last === '' ? size - 1 : Math.min(Number(last), size - 1);
  return start >= size || (last !== '' && Number(last) < start) ? null : { start, end };
};

/** The size that an upload says it has. @throws invalid */
export const sizeIn = (headers: Call['headers']): number | undefined => {
  const text = headers['x-openstack-image-size'] ?? headers['content-length'];
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw invalid('Invalid or missing image size in request headers.');
  return Number(text);
};
