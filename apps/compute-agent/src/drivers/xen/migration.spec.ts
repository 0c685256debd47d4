import { describe, expect, it } from 'vitest';
import { refuseLesser } from './migration.js';

const host = { version: '4.17.5', cpuWords: 'bfebfbff:f6fa3203' };
const offer = { xen: '4.17.5', flags: ['sse2'], cpuWords: host.cpuWords };

describe('the host that a Xen guest may move to', () => {
  it.each([
    ['pv', {}, ['sse2', 'avx']],
    ['pv', { cpuWords: 'another' }, ['sse2']],
    ['pv', { version: '4.18.0' }, ['sse2']],
    ['pvh', {}, ['sse2']],
    ['hvm', {}, ['sse2']],
  ] as const)('has for %s all that it had: %j', (type, change, flags) => {
    expect(() => refuseLesser({ ...offer, type }, { ...host, ...change }, flags)).not.toThrow();
  });

  it.each([
    ['pv', {}, ['avx']],
    ['pv', { version: '4.16.9' }, ['sse2']],
    ['pvh', { cpuWords: 'another' }, ['sse2']],
    ['hvm', { cpuWords: '' }, ['sse2']],
  ] as const)('is refused for %s with less, or what may be less: %j', (type, change, flags) => {
    expect(() => refuseLesser({ ...offer, type }, { ...host, ...change }, flags)).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  it('is refused for hvm when neither says what its processor is', () => {
    const silent = { ...host, cpuWords: '' };
    expect(() => refuseLesser({ ...offer, cpuWords: '', type: 'hvm' }, silent, ['sse2'])).toThrow('another');
  });
});
