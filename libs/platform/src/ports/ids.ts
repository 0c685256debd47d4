import { createHash, randomBytes, randomUUID } from 'node:crypto';

/** Source of ids. Seeded in simulation. */
export interface Ids {
  /** Random UUID (version 4), for resources. */
  uuid(): string;
  /** Time-ordered UUID (version 7), for events. */
  ordered(): string;
  /** 32 hexadecimal digits, as Keystone prints its ids. */
  hex(): string;
}

const format = (bytes: Uint8Array): string => {
  const hex = Buffer.from(bytes).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
};

/** RFC 9562 version 7 from a time in milliseconds and 10 random bytes. */
export const uuidV7 = (time: number, random: Uint8Array): string => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(time) << 16n);
  bytes.set(random.subarray(0, 10), 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return format(bytes);
};

/** RFC 9562 version 5: the same parent and name always give the same id. */
export const uuidV5 = (parent: string, name: string): string => {
  const digest = createHash('sha1')
    .update(Buffer.from(parent.replaceAll('-', ''), 'hex'))
    .update(name)
    .digest();
  const bytes = new Uint8Array(digest.subarray(0, 16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return format(bytes);
};

export class RandomIds implements Ids {
  uuid(): string {
    return randomUUID();
  }
  ordered(): string {
    return uuidV7(Date.now(), randomBytes(10));
  }
  hex(): string {
    return randomBytes(16).toString('hex');
  }
}
