import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';

/**
 * Signed notes (C2SP signed-note) with Ed25519. A key is written `<name>+<8 hexadecimal digits>+<base64>`, as other
 * implementations write and read it.
 */
export interface NoteVerifier {
  readonly name: string;
  /** First 32 bits of SHA-256 over name and key: tells keys apart, proves nothing. */
  readonly id: Buffer;
  /** The text above. */
  readonly text: string;
  verifies(message: Uint8Array, signature: Uint8Array): boolean;
}

export interface NoteSigner {
  readonly verifier: NoteVerifier;
  sign(message: Uint8Array): Buffer;
}

export class NoteError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'NoteError';
  }
}

const ED25519 = Buffer.of(1);
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const ID_BYTES = 4;
const NAME = /^[^\s+]+$/u;

const verifierOf = (name: string, key: Buffer): NoteVerifier => {
  if (!NAME.test(name)) throw new NoteError('the name of a key has no space and no plus in it');
  const publicKey: KeyObject = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') },
    format: 'jwk',
  });
  const typed = Buffer.concat([ED25519, key]);
  const id = createHash('sha256').update(`${name}\n`).update(typed).digest().subarray(0, ID_BYTES);
  return {
    name,
    id,
    text: `${name}+${id.toString('hex')}+${typed.toString('base64')}`,
    verifies: (message, signature) => verify(null, message, publicKey, signature),
  };
};

/** @throws NoteError when the text is no Ed25519 key, or its parts do not belong together */
export const parseVerifier = (text: string): NoteVerifier => {
  const [, name, id, typed] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/u.exec(text.trim()) ?? [];
  const key = typed === undefined ? undefined : Buffer.from(typed, 'base64');
  if (name === undefined || !key || key.length !== KEY_BYTES + 1 || key[0] !== 1)
    throw new NoteError('not the public key of a signed note');
  const verifier = verifierOf(name, key.subarray(1));
  if (verifier.id.toString('hex') !== id) throw new NoteError('the key and its number do not belong together');
  return verifier;
};

/** @param seed 32 bytes, the private key */
export const signerOf = (name: string, seed: Uint8Array): NoteSigner => {
  // PKCS #8 of an Ed25519 key is a fixed header before the seed (RFC 8410).
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  return { verifier: verifierOf(name, Buffer.from(x!, 'base64url')), sign: (message) => sign(null, message, key) };
};

/** A new private key. */
export const newSeed = (): Buffer =>
  Buffer.from(generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }).d!, 'base64url');

/** @param text ends with a line break */
export const signNote = (text: string, signers: readonly NoteSigner[]): string => {
  if (!text.endsWith('\n')) throw new NoteError('the text of a note ends with a line break');
  const message = Buffer.from(text);
  const lines = signers.map(({ verifier, sign }) => {
    const signature = Buffer.concat([verifier.id, sign(message)]);
    return `— ${verifier.name} ${signature.toString('base64')}\n`;
  });
  return `${text}\n${lines.join('')}`;
};

/**
 * The text of a note, if one of the keys signed it.
 * @throws NoteError when it is no note, none of the keys signed it, or a signature of one of them is wrong
 */
export const openNote = (note: string, keys: readonly NoteVerifier[]): { text: string; signedBy: NoteVerifier[] } => {
  const end = note.lastIndexOf('\n\n');
  if (end < 0 || !note.endsWith('\n')) throw new NoteError('not a signed note');
  const text = note.slice(0, end + 1);
  const signedBy: NoteVerifier[] = [];
  for (const line of note.slice(end + 2, -1).split('\n')) {
    const [, name, encoded] = /^— (\S+) ([A-Za-z0-9+/]+=*)$/u.exec(line) ?? [];
    if (name === undefined) throw new NoteError('not a signed note');
    const signature = Buffer.from(encoded!, 'base64');
    const key = keys.find((k) => k.name === name && k.id.equals(signature.subarray(0, ID_BYTES)));
    if (!key) continue;
    const bytes = signature.subarray(ID_BYTES);
    if (bytes.length !== SIGNATURE_BYTES || !key.verifies(Buffer.from(text), bytes))
      throw new NoteError(`the signature of ${name} is wrong`);
    signedBy.push(key);
  }
  if (signedBy.length === 0) throw new NoteError('no key that is known has signed it');
  return { text, signedBy };
};
