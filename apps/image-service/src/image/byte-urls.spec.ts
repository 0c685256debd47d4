import { describe, expect, it } from 'vitest';
import { grantedBy, signedUrl } from './byte-urls.js';

const key = Buffer.alloc(32, 7);
const grant = {
  method: 'GET' as const,
  format: 'vhdx' as const,
  imageId: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b01',
  hostId: 'h1',
  expires: 2_000,
};
const url = new URL(signedUrl('http://image', key, grant));
const query = Object.fromEntries(url.searchParams);
const before = 1_999_000;

const isGranted = (k: Buffer, id: string, q: Record<string, string | undefined>, now: number) =>
  grantedBy(k, 'GET', id, q, now) !== null;

describe('a signed URL', () => {
  it('is good for its image, host and time', () => expect(isGranted(key, grant.imageId, query, before)).toBe(true));
  it('expires', () => expect(isGranted(key, grant.imageId, query, 2_000_000)).toBe(false));
  it.each([
    ['another image', 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b02', query],
    ['another host', grant.imageId, { ...query, host: 'h2' }],
    ['a later end', grant.imageId, { ...query, expires: '9000' }],
    ['an end that is no number', grant.imageId, { ...query, expires: '2000.0' }],
    ['no signature', grant.imageId, { ...query, sig: '' }],
    ['a cut signature', grant.imageId, { ...query, sig: query.sig!.slice(0, 20) }],
    ['nothing', grant.imageId, {}],
    ['another form', grant.imageId, { ...query, format: 'raw' }],
    ['its own form', grant.imageId, { ...query, format: undefined }],
    ['a form that is none', grant.imageId, { ...query, format: 'exe' }],
  ])('is worthless for %s', (_, id, q) => expect(isGranted(key, id, q, before)).toBe(false));
  it('is worthless under another key', () =>
    expect(isGranted(Buffer.alloc(32, 8), grant.imageId, query, before)).toBe(false));
  it('to read does not write, nor the other way round', () => {
    const write = { method: 'PUT' as const, maxBytes: 5, imageId: grant.imageId, hostId: 'h1', expires: 2_000 };
    const upload = Object.fromEntries(new URL(signedUrl('http://image', key, write)).searchParams);
    expect(grantedBy(key, 'PUT', grant.imageId, upload, before)).toEqual(write);
    expect(grantedBy(key, 'GET', grant.imageId, upload, before)).toBeNull();
    expect(grantedBy(key, 'PUT', grant.imageId, query, before)).toBeNull();
    expect(grantedBy(key, 'PUT', grant.imageId, { ...upload, max: '6' }, before)).toBeNull();
  });
});
