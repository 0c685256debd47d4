import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';

/** A 256-bit key and the name under which secrets say that it closed them. */
export interface MasterKey {
  readonly id: string;
  readonly key: Buffer;
}

export interface Sealed {
  readonly keyId: string;
  readonly nonce: Buffer;
  /** Ciphertext and the 16 bytes of its tag. */
  readonly body: Buffer;
}

const ALGORITHM = 'aes-256-gcm';
const NONCE = 12;
const TAG = 16;

/**
 * The keys of a vault, as configuration has them: one or more of 32 bytes in base64 or hexadecimal, separated by commas.
 * The first closes, all of them open; so a key is changed by putting a new one in front.
 * @throws Error that does not repeat what was given
 */
export const masterKeys = (text: string): MasterKey[] => {
  const keys = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const key = Buffer.from(part, /^[0-9a-f]{64}$/i.test(part) ? 'hex' : 'base64');
      if (key.length !== 32) throw new Error('a vault key has 32 bytes, in base64 or hexadecimal');
      return { id: createHash('sha256').update('vault key ').update(key).digest('hex').slice(0, 16), key };
    });
  if (keys.length === 0) throw new Error('the vault has no key');
  return keys;
};

/** AES-256-GCM by a key of its own for each secret, so that random nonces never meet; `ref` and `kind` are protected too. */
export class Sealer {
  private readonly byId: ReadonlyMap<string, MasterKey>;
  private readonly current: MasterKey;

  /** @param keys the first one closes */
  constructor(keys: readonly MasterKey[]) {
    const [current] = keys;
    if (!current) throw new Error('the vault has no key');
    this.current = current;
    this.byId = new Map(keys.map((k) => [k.id, k]));
  }

  seal(ref: string, kind: string, secret: Uint8Array): Sealed {
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv(ALGORITHM, keyFor(this.current, ref), nonce).setAAD(protectedText(ref, kind));
    const body = Buffer.concat([cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
    return { keyId: this.current.id, nonce, body };
  }

  /** @throws Error when the key is not there, or what is stored is not what was */
  open(ref: string, kind: string, { keyId, nonce, body }: Sealed): Buffer {
    const master = this.byId.get(keyId);
    if (!master) throw new Error(`vault key ${keyId} is not configured`);
    try {
      const decipher = createDecipheriv(ALGORITHM, keyFor(master, ref), nonce, { authTagLength: TAG })
        .setAAD(protectedText(ref, kind))
        .setAuthTag(body.subarray(-TAG));
      return Buffer.concat([decipher.update(body.subarray(0, -TAG)), decipher.final()]);
    } catch {
      throw new Error(`secret ${ref} of the vault was changed, or closed by another key`);
    }
  }
}

const keyFor = ({ key }: MasterKey, ref: string): Buffer =>
  Buffer.from(hkdfSync('sha256', key, ref, 'omnivisor vault', 32));
const protectedText = (ref: string, kind: string): Buffer => Buffer.from(JSON.stringify([ref, kind]));
