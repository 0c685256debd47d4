import { generateKeyPair, randomBytes, sign, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';

const DAY = 86_400_000;
const VALID_DAYS = 3650;

const der = (tag: number, ...parts: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(parts);
  if (body.length < 128) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const hex = body.length.toString(16);
  const length = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, body]);
};
const sequence = (...parts: readonly Buffer[]) => der(0x30, ...parts);
const set = (...parts: readonly Buffer[]) => der(0x31, ...parts);
const integer = (bytes: Buffer) => der(0x02, bytes);
const bits = (bytes: Buffer) => der(0x03, Buffer.from([0]), bytes);
const octets = (bytes: Buffer) => der(0x04, bytes);
const utf8 = (value: string) => der(0x0c, Buffer.from(value));
const explicit = (number: number, part: Buffer) => der(0xa0 | number, part);
/** UTCTime to 2049, GeneralizedTime after it, as RFC 5280 asks. */
const time = (at: Date): Buffer => {
  const text = `${at.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`;
  return at.getUTCFullYear() < 2050 ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text));
};

const objectId = (dotted: string): Buffer => {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const base128 = (value: number): number[] => {
    const digits = [value & 0x7f];
    for (let left = value >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
    return digits;
  };
  return der(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
};

const COMMON_NAME = objectId('2.5.4.3');
const SHA256_WITH_RSA = sequence(objectId('1.2.840.113549.1.1.11'), der(0x05));
const EXTENDED_KEY_USAGE = objectId('2.5.29.37');
const CLIENT_AUTH = objectId('1.3.6.1.5.5.7.3.2');
const SUBJECT_ALT_NAME = objectId('2.5.29.17');
const PRINCIPAL_NAME = objectId('1.3.6.1.4.1.311.20.2.3');

/**
 * A new RSA key with a certificate signed by itself, by which a user signs in to Windows guests over WinRM.
 * Both PEM; the certificate names the user as Nova's does: CN and the principal name `<user>@localhost`.
 */
export const generateX509Keypair = async (userId: string, now: Date) => {
  const pair = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  const name = sequence(set(sequence(COMMON_NAME, utf8(userId))));
  const principal = sequence(explicit(0, Buffer.concat([PRINCIPAL_NAME, explicit(0, utf8(`${userId}@localhost`))])));
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const certified = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(serial),
    SHA256_WITH_RSA,
    name,
    sequence(time(now), time(new Date(now.getTime() + VALID_DAYS * DAY))),
    name,
    pair.publicKey.export({ type: 'spki', format: 'der' }),
    explicit(
      3,
      sequence(
        sequence(EXTENDED_KEY_USAGE, octets(sequence(CLIENT_AUTH))),
        sequence(SUBJECT_ALT_NAME, octets(principal)),
      ),
    ),
  );
  const signature = sign('sha256', certified, pair.privateKey);
  const certificate = new X509Certificate(sequence(certified, SHA256_WITH_RSA, bits(signature)));
  return {
    publicKey: certificate.toString(),
    privateKey: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
};
