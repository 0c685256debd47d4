import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/** Fernet: `0x80 | seconds (8) | iv (16) | AES-128-CBC | HMAC-SHA256 (32)`. Key: 16 bytes to sign, 16 to encrypt. */

const OVERHEAD = 1 + 8 + 16 + 32;

export const seal = (key: Uint8Array, plain: Uint8Array, seconds: number, iv: Uint8Array = randomBytes(16)): string => {
  const cipher = createCipheriv('aes-128-cbc', key.subarray(16, 32), iv);
  const head = Buffer.alloc(9);
  head[0] = 0x80;
  head.writeBigUInt64BE(BigInt(seconds), 1);
  const body = Buffer.concat([head, iv, cipher.update(plain), cipher.final()]);
  const mac = createHmac('sha256', key.subarray(0, 16)).update(body).digest();
  return Buffer.concat([body, mac]).toString('base64url');
};

/** @returns undefined for what none of the keys sealed */
export const open = (keys: readonly Uint8Array[], token: string): Buffer | undefined => {
  if (!/^[A-Za-z0-9_-]+={0,2}$/.test(token)) return undefined;
  const bytes = Buffer.from(token, 'base64url');
  if (bytes.length < OVERHEAD + 16 || (bytes.length - OVERHEAD) % 16 !== 0 || bytes[0] !== 0x80) return undefined;
  const body = bytes.subarray(0, -32);
  const mac = bytes.subarray(-32);
  for (const key of keys) {
    const expected = createHmac('sha256', key.subarray(0, 16)).update(body).digest();
    if (!timingSafeEqual(expected, mac)) continue;
    const decipher = createDecipheriv('aes-128-cbc', key.subarray(16, 32), body.subarray(9, 25));
    return Buffer.concat([decipher.update(body.subarray(25)), decipher.final()]);
  }
  return undefined;
};
