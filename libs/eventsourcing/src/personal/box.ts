import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { PersonalValues } from '@omnivisor/contracts';
import { canonicalText } from '../canonical.js';

/** What stands in an event's data for its personal values; no event of ours has a field of this name. */
export const BOX = '$personal';

/** Personal values as they are stored: by AES-256-GCM under a key of the vault. */
export interface Box {
  /** Reference of the key. */
  readonly key: string;
  /** Nonce, ciphertext and tag in base64. */
  readonly box: string;
}

const ALGORITHM = 'aes-256-gcm';
const NONCE = 12;
const TAG = 16;

/** A box opens in the stream and the type of event that it was closed for only. */
const protectedText = (stream: string, type: string): Buffer => Buffer.from(JSON.stringify([stream, type]));

export const closeBox = (ref: string, key: Buffer, stream: string, type: string, values: PersonalValues): Box => {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv(ALGORITHM, key, nonce).setAAD(protectedText(stream, type));
  const text = cipher.update(canonicalText(values), 'utf8');
  return { key: ref, box: Buffer.concat([nonce, text, cipher.final(), cipher.getAuthTag()]).toString('base64') };
};

/** @throws Error when it is not what was closed here */
export const openBox = ({ box }: Box, key: Buffer, stream: string, type: string): PersonalValues => {
  const bytes = Buffer.from(box, 'base64');
  try {
    const decipher = createDecipheriv(ALGORITHM, key, bytes.subarray(0, NONCE), { authTagLength: TAG })
      .setAAD(protectedText(stream, type))
      .setAuthTag(bytes.subarray(-TAG));
    return JSON.parse(decipher.update(bytes.subarray(NONCE, -TAG), undefined, 'utf8') + decipher.final('utf8'));
  } catch (cause) {
    throw new Error(`personal fields of an event of ${stream} were changed, or closed by another key`, { cause });
  }
};

/** The box of an event's data, when it has one. */
export const boxOf = (data: unknown): Box | undefined => (data as { readonly [BOX]?: Box })[BOX];
