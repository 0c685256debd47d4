import { describe, expect, it } from 'vitest';
import { checkedUri, isAllowedAddress, shownUri } from './guarded-uri.js';

const rules = { ports: [80, 443], networks: [] };

describe('OSSA-2025-001 OSSA-2026-004 a URI that bytes may be taken from', () => {
  it.each([
    'http://images.example/a.qcow2',
    'https://8.8.8.8/',
    'https://[2606:4700::1111]/',
    'http://example:80/x?y=z',
  ])('%s is allowed', (uri) => expect(checkedUri(uri, rules)).toBeInstanceOf(URL));
  it.each([
    ...['file:///etc/passwd', 'ftp://example/x', 'gopher://example/', 'data:text/plain,x', 'javascript:1', 'http:'],
    ...['http://user:secret@example/', 'http://example:22/', 'https://example:8443/', '', 'example/x'],
    ...['http://127.0.0.1/', 'http://127.1/', 'http://2130706433/', 'http://0x7f000001/', 'http://0177.0.0.1/'],
    ...['http://0/', 'http://0.0.0.0/', 'http://10.0.0.1/', 'http://172.16.0.1/', 'http://192.168.1.1/'],
    ...['http://169.254.169.254/latest/', 'http://100.64.0.1/', 'http://224.0.0.1/', 'http://255.255.255.255/'],
    ...['http://[::1]/', 'http://[::]/', 'http://[::ffff:127.0.0.1]/', 'http://[::ffff:7f00:1]/', 'http://[fe80::1]/'],
    ...['http://[fc00::1]/', 'http://[64:ff9b::7f00:1]/', 'http://[2002:7f00:1::]/', 'http://[2001::1]/'],
    ...['http://127。0。0。1/', 'http://①②⑦.0.0.1/', 'http://198.18.0.1/', 'http://192.0.2.1/'],
  ])('%s is refused', (uri) => expect(() => checkedUri(uri, rules)).toThrow(/does not pass filtering/));
  it.each([undefined, null, 5, {}, `http://example/${'x'.repeat(5_000)}`])('%j is refused', (uri) =>
    expect(() => checkedUri(uri, rules)).toThrow(/does not pass filtering/),
  );
  it('may lie in a network that the operator allows', () => {
    const own = { ports: [80], networks: ['10.1.0.0/16', 'fd00::/8'] };
    expect(isAllowedAddress('10.1.2.3', own)).toBe(true);
    expect(isAllowedAddress('::ffff:10.1.2.3', own)).toBe(true);
    expect(isAllowedAddress('fd00::5', own)).toBe(true);
    expect(isAllowedAddress('10.2.0.1', own)).toBe(false);
    expect(isAllowedAddress('fe80::1', own)).toBe(false);
    expect(isAllowedAddress('no address', own)).toBe(false);
  });
  it('is kept without what may be a secret', () =>
    expect(shownUri(new URL('https://example/a/b?signature=secret#x'))).toBe('https://example/a/b'));
});
