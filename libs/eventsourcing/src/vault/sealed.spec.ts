import { describe, expect, it } from 'vitest';
import { masterKeys, Sealer } from './sealed.js';

const one = 'ab'.repeat(32);
const two = Buffer.alloc(32, 7).toString('base64');
const secret = Buffer.from('correct horse battery staple');

describe('Sealer', () => {
  it('opens what it closed, and never closes alike twice', () => {
    const sealer = new Sealer(masterKeys(one));
    const a = sealer.seal('ref', 'kind', secret);
    expect(sealer.open('ref', 'kind', a)).toEqual(secret);
    const b = sealer.seal('ref', 'kind', secret);
    expect(b.body).not.toEqual(a.body);
    expect(Buffer.concat([a.nonce, a.body]).includes(secret)).toBe(false);
  });

  it('opens nothing that was changed, moved or closed by another key, and tells nothing about it', () => {
    const sealer = new Sealer(masterKeys(one));
    const sealed = sealer.seal('ref', 'kind', secret);
    const changed = Buffer.from(sealed.body);
    changed[3]! ^= 1;
    for (const attempt of [
      () => sealer.open('ref', 'kind', { ...sealed, body: changed }),
      () => sealer.open('ref', 'kind', { ...sealed, body: sealed.body.subarray(0, 5) }),
      () => sealer.open('other', 'kind', sealed),
      () => sealer.open('ref', 'other', sealed),
      () => new Sealer(masterKeys(two)).open('ref', 'kind', sealed),
    ])
      expect(attempt).toThrow(/was changed|is not configured/);
  });

  it('closes by the first key and opens by all', () => {
    const old = new Sealer(masterKeys(one)).seal('ref', 'kind', secret);
    const both = new Sealer(masterKeys(`${two}, ${one}`));
    expect(both.open('ref', 'kind', old)).toEqual(secret);
    expect(both.seal('ref', 'kind', secret).keyId).not.toBe(old.keyId);
  });

  it('does not repeat a key that it cannot take', () => {
    expect(() => masterKeys('not-a-key')).toThrow(/^a vault key has 32 bytes/);
    expect(() => masterKeys(' ')).toThrow('no key');
  });
});
