import { createHash, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { invalid, type KeypairType } from '@omnivisor/contracts';

const refuse = (reason: string) => invalid(`Keypair data is invalid: ${reason}`);
const colons = (digest: Buffer) => digest.toString('hex').replace(/(..)(?!$)/g, '$1:');

/** The fields an OpenSSH public key has after its type, by type. Source: RFC 4253, RFC 5656, RFC 8709. */
const SSH_FIELDS: Readonly<Record<string, number>> = {
  'ssh-rsa': 2,
  'ssh-ed25519': 1,
  'ecdsa-sha2-nistp256': 2,
  'ecdsa-sha2-nistp384': 2,
  'ecdsa-sha2-nistp521': 2,
  'sk-ssh-ed25519@openssh.com': 2,
  'sk-ecdsa-sha2-nistp256@openssh.com': 3,
};

const fieldsOf = (blob: Buffer): Buffer[] | null => {
  const fields: Buffer[] = [];
  for (let at = 0; at < blob.length; ) {
    if (at + 4 > blob.length) return null;
    const length = blob.readUInt32BE(at);
    if (length > blob.length - at - 4) return null;
    fields.push(blob.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return fields;
};

const sshFingerprint = (publicKey: string): string => {
  const [type = '', body = ''] = publicKey.trim().split(/\s+/);
  const blob = Buffer.from(body, 'base64');
  const fields = /^[A-Za-z0-9+/]+={0,2}$/.test(body) ? fieldsOf(blob) : null;
  const wanted = SSH_FIELDS[type];
  if (wanted === undefined || fields?.[0]?.toString('latin1') !== type || fields.length !== wanted + 1)
    throw refuse('failed to generate fingerprint');
  return colons(createHash('md5').update(blob).digest());
};

const x509Fingerprint = (pem: string): string => {
  try {
    return new X509Certificate(pem).fingerprint.toLowerCase();
  } catch {
    throw refuse('failed to generate X509 fingerprint');
  }
};

/** @throws DomainError `invalid` when it is no public key of this type */
export const fingerprintOf = (type: KeypairType, publicKey: string): string =>
  type === 'ssh' ? sshFingerprint(publicKey) : x509Fingerprint(publicKey);

const text = (value: Buffer | string): Buffer => {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};

/** A new Ed25519 pair in OpenSSH's own formats. */
export const generateSshKeypair = (): { readonly publicKey: string; readonly privateKey: string } => {
  const pair = generateKeyPairSync('ed25519');
  const jwk = pair.privateKey.export({ format: 'jwk' });
  const publicBytes = Buffer.from(jwk.x!, 'base64url');
  const seed = Buffer.from(jwk.d!, 'base64url');
  const blob = Buffer.concat([text('ssh-ed25519'), text(publicBytes)]);
  const check = randomBytes(4);
  const comment = 'Generated-by-Nova';
  let secret = Buffer.concat([check, check, blob, text(Buffer.concat([seed, publicBytes])), text(comment)]);
  const padding = (8 - (secret.length % 8)) % 8;
  secret = Buffer.concat([secret, Buffer.from(Array.from({ length: padding }, (_, i) => i + 1))]);
  const count = Buffer.from([0, 0, 0, 1]);
  const whole = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    text('none'),
    text('none'),
    text(''),
    count,
    text(blob),
    text(secret),
  ]);
  const lines = whole
    .toString('base64')
    .match(/.{1,70}/g)!
    .join('\n');
  return {
    publicKey: `ssh-ed25519 ${blob.toString('base64')} ${comment}`,
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines}\n-----END OPENSSH PRIVATE KEY-----\n`,
  };
};
