import type { IncomingMessage } from 'node:http';
import { DomainError } from '@omnivisor/contracts';

export const DEFAULT_BODY_LIMIT = 1024 * 1024;
/** A body that is not there after this many milliseconds is given up. */
const BODY_DEADLINE = 60_000;
const MAX_DEPTH = 64;

/** @throws DomainError `tooLarge`; `invalid` when the client is too slow */
export const collect = (stream: NodeJS.ReadableStream, limit: number, declared: string | undefined): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const refuse = () => reject(new DomainError('tooLarge', 'Request is too large.'));
    if (declared !== undefined && Number(declared) > limit) return refuse();
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = setTimeout(() => {
      done();
      reject(new DomainError('invalid', 'The body of the request did not arrive in time.'));
    }, BODY_DEADLINE);
    const done = () => {
      clearTimeout(timer);
      stream.removeListener('data', take);
      stream.removeListener('end', end);
      stream.removeListener('error', fail);
      stream.removeListener('close', gone);
    };
    const take = (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) {
        done();
        (stream as IncomingMessage).resume?.();
        refuse();
      } else chunks.push(chunk);
    };
    const end = () => {
      done();
      resolve(Buffer.concat(chunks));
    };
    const fail = (cause: unknown) => {
      done();
      reject(new DomainError('invalid', 'The body of the request could not be read.', { cause }));
    };
    const gone = () => fail(new Error('connection closed'));
    stream.on('data', take).on('end', end).on('error', fail).on('close', gone);
  });

const utf8 = new TextDecoder('utf-8', { fatal: true });
const PROTO = /"(?:_|\\u005[fF]){2}proto(?:_|\\u005[fF]){2}"\s*:/;

/**
 * A JSON text that is safe to go on with: valid UTF-8, texts without NUL and lone surrogates, not nested deeply.
 * @returns undefined for anything else
 */
export const parseJson = (bytes: Buffer): { readonly value: unknown } | undefined => {
  try {
    const text = utf8.decode(bytes);
    if (PROTO.test(text) || tooDeep(text)) return undefined;
    const value: unknown = JSON.parse(text);
    return text.includes('\\u') && !wellFormed(value) ? undefined : { value };
  } catch {
    return undefined;
  }
};

const tooDeep = (text: string): boolean => {
  if (text.length <= 2 * MAX_DEPTH) return false;
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (quoted) {
      if (c === 92) i++;
      else if (c === 34) quoted = false;
    } else if (c === 34) quoted = true;
    else if (c === 123 || c === 91) {
      if (++depth > MAX_DEPTH) return true;
    } else if (c === 125 || c === 93) depth--;
  }
  return false;
};

/** True for a text that the log and the database can hold. */
export const isStorable = (text: string): boolean => !/\p{Surrogate}|\0/u.test(text);

const wellFormed = (value: unknown): boolean => {
  if (typeof value === 'string') return isStorable(value);
  if (value === null || typeof value !== 'object') return true;
  for (const [k, v] of Object.entries(value)) if (!isStorable(k) || !wellFormed(v)) return false;
  return true;
};
