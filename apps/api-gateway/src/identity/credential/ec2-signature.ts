import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';

const texts = z.record(z.string(), z.string());

/** A request that its sender signed with an EC2 key, as a service passes it on. */
export const SignedRequest = z.looseObject({
  access: z.string().max(1_024),
  signature: z.string().max(1_024),
  host: z.string().max(1_024).default(''),
  verb: z.string().max(32).default('GET'),
  path: z.string().max(8_192).default('/'),
  params: texts.default({}),
  headers: texts.default({}),
  body_hash: z.string().max(1_024).default(''),
});
export type SignedRequest = z.infer<typeof SignedRequest>;

const sha256 = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const same = (a: string, b: string): boolean => {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
};

/** Everything but letters, digits and `-_.~` in percents. */
const quoted = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

const queryOf = (params: Readonly<Record<string, string>>): string =>
  Object.keys(params)
    .sort()
    .map((key) => `${quoted(key)}=${quoted(params[key]!)}`)
    .join('&');

const version2 = (secret: string, { verb, host, path, params }: SignedRequest): string => {
  const query = queryOf({ ...params, SignatureMethod: 'HmacSHA256' });
  return sha256(secret, `${verb}\n${host}\n${path}\n${query}`).toString('base64');
};

/** When a request of version 4 was signed: a part of what the signature covers. */
const dateOf = ({ params, headers }: SignedRequest): string | undefined =>
  headers['X-Amz-Date'] ?? params['X-Amz-Date'];

/** The day, region and service that a key is narrowed to. */
const keyFor = (secret: string, [day, region, service]: readonly string[]): Buffer =>
  sha256(sha256(sha256(sha256(`AWS4${secret}`, day ?? ''), region ?? ''), service ?? ''), 'aws4_request');

const version4 = (secret: string, request: SignedRequest): string | undefined => {
  const { verb, path, params, headers, body_hash } = request;
  const { Authorization: authorization } = headers;
  const part = (name: string): string =>
    authorization === undefined
      ? (params[`X-Amz-${name}`] ?? '')
      : (new RegExp(`(?:^|[ ,])${name}=([^,]*)`).exec(authorization)?.[1] ?? '');
  const date = dateOf(request) ?? '';
  const [, ...scope] = part('Credential').split('/');
  if (scope.length !== 4 || !date.startsWith(scope[0]!)) return undefined;
  const lower = new Map(Object.entries(headers).map(([name, value]) => [name.trim().toLowerCase(), value.trim()]));
  const signed = part('SignedHeaders');
  const lines = signed.split(';').filter((name) => lower.has(name));
  const canonical = [
    verb.toUpperCase(),
    path,
    verb.toUpperCase() === 'POST' ? '' : queryOf(params),
    `${lines.map((name) => `${name}:${lower.get(name)}`).join('\n')}\n`,
    signed,
    body_hash,
  ].join('\n');
  const digest = createHash('sha256').update(canonical).digest('hex');
  return sha256(keyFor(secret, scope), ['AWS4-HMAC-SHA256', date, scope.join('/'), digest].join('\n')).toString('hex');
};

const signatureOf = (secret: string, request: SignedRequest): string | undefined => {
  const { params, headers } = request;
  if (params.SignatureVersion === '2') return version2(secret, request);
  const is4 = headers.Authorization?.startsWith('AWS4-HMAC-SHA256') ?? params['X-Amz-Algorithm'] === 'AWS4-HMAC-SHA256';
  return params.SignatureVersion === undefined && is4 ? version4(secret, request) : undefined;
};

/** Signature versions 2 and 4. Some clients leave the port out of the host that they sign. */
export const isSigned = (secret: string, request: SignedRequest): boolean => {
  const bare = { ...request, host: request.host.replace(/:\d+$/, '') };
  return [request, bare].some((one) => {
    const expected = signatureOf(secret, one);
    return expected !== undefined && same(expected, request.signature);
  });
};

const S3_SERVICES = ['s3', 'iam', 'sts'];

/** A text to sign that a store of objects passes on, in base64. */
export const isSignedForS3 = (secret: string, token: string, signature: string): boolean => {
  const text = Buffer.from(token, 'base64url').toString();
  if (!text.startsWith('AWS4')) return same(createHmac('sha1', secret).update(text).digest('base64'), signature);
  const lines = text.split('\n');
  const scope = (lines[2] ?? '').split('/');
  const isOne = lines.length === 4 && lines[0] === 'AWS4-HMAC-SHA256' && scope.length === 4;
  if (!isOne || scope[3] !== 'aws4_request' || !S3_SERVICES.includes(scope[2]!)) return false;
  return same(sha256(keyFor(secret, scope), text).toString('hex'), signature);
};

const MAX_AGE = 15 * 60_000;

/**
 * False for a request that was signed too long ago, is of a time to come, or does not say when. The time is the one that
 * its signature covers: what else stands in the request may have been added by whoever sends it again.
 */
export const isRecent = (request: SignedRequest, now: number): boolean => {
  const text = request.params.SignatureVersion === '2' ? request.params.Timestamp : dateOf(request);
  if (text === undefined) return false;
  const iso = text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const time = Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(iso) ? iso : `${iso}Z`);
  return Math.abs(now - time) <= MAX_AGE;
};
