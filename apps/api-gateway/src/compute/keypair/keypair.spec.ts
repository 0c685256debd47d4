import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeypairEvent, UserId } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, expect, it } from 'vitest';
import { generateX509Keypair } from './client-certificate.js';
import { fingerprintOf, generateSshKeypair } from './key-formats.js';
import { keypairAggregate } from './keypair.js';

const given = specificationOf(keypairAggregate);
const userId = 'u' as UserId;
const data = { userId, name: 'k', type: 'ssh' as const, publicKey: 'x', fingerprint: 'y', generated: false };
const added: KeypairEvent = { type: 'KeypairAdded', data };

describe('a keypair', () => {
  it('is added', () => given().when({ type: 'add', keypair: data, limit: 1 }).then(added));
  it('has a name of its own', () =>
    given(added)
      .when({ type: 'add', keypair: data, limit: 5 })
      .thenRefused('conflict', /Key pair 'k' already exists\./));
  it('counts against the limit', () =>
    given(added)
      .when({ type: 'add', keypair: { ...data, name: 'l' }, limit: 1 })
      .thenRefused('overQuota', /too many key pairs/));
  it('that is unknown cannot be deleted', () =>
    given()
      .when({ type: 'delete', userId, name: 'k' })
      .thenRefused('notFound', /Keypair k not found for user u/));
});

describe('a generated key', () => {
  it('has the public key in the clear and in its secret part, padded to blocks of 8', () => {
    const pair = generateSshKeypair();
    expect(pair.publicKey).toMatch(/^ssh-ed25519 \S+ Generated-by-Nova$/);
    expect(fingerprintOf('ssh', pair.publicKey)).toMatch(/^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
    const whole = Buffer.from(pair.privateKey.replace(/-----[^\n]*/g, ''), 'base64');
    const blob = Buffer.from(pair.publicKey.split(' ')[1]!, 'base64');
    expect(whole.toString('latin1')).toMatch(/^openssh-key-v1\0/);
    const at = whole.indexOf(blob);
    expect(whole.indexOf(blob, at + 1)).toBeGreaterThan(at);
    const secret = whole.subarray(at + blob.length + 4);
    expect(whole.readUInt32BE(at + blob.length)).toBe(secret.length);
    expect(secret.length % 8).toBe(0);
  });
});

describe('a generated certificate', () => {
  it('names the user, signs itself, is for ten years of client authentication, and fits its key', async () => {
    const pair = await generateX509Keypair('u1', new Date('2045-01-02T03:04:05Z'));
    const certificate = new X509Certificate(pair.publicKey);
    expect(certificate.subject).toBe('CN=u1');
    expect(certificate.issuer).toBe('CN=u1');
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(createPrivateKey(pair.privateKey))).toBe(true);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(certificate.subjectAltName).toMatch(/^othername:/);
    expect(certificate.raw.includes('u1@localhost')).toBe(true);
    expect(certificate.validFrom).toBe('Jan  2 03:04:05 2045 GMT');
    expect(certificate.validTo).toBe('Dec 31 03:04:05 2054 GMT');
    expect(fingerprintOf('x509', pair.publicKey)).toMatch(/^([0-9a-f]{2}:){19}[0-9a-f]{2}$/);
  });
});

describe('an imported key', () => {
  it('has the fingerprint that ssh-keygen -E md5 prints', () =>
    expect(
      fingerprintOf('ssh', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl comment'),
    ).toBe('65:96:2d:fc:e8:d5:a9:11:64:0c:0f:ea:00:6e:5b:bd'));
  it.each([
    '',
    'ssh-rsa',
    'ssh-rsa AAAA',
    'ssh-ed25519 !!!',
    'nonsense AAAAC3NzaC1lZDI1NTE5AAAAIA==',
    'ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl',
  ])('that is none is refused: %s', (key) =>
    expect(() => fingerprintOf('ssh', key)).toThrow(/^Keypair data is invalid: /),
  );
  it('as x509 must be a certificate', () => expect(() => fingerprintOf('x509', 'ssh-ed25519 AAAA')).toThrow(/X509/));
});
