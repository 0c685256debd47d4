import { describe, expect, it } from 'vitest';
import { BadPattern, matcher } from './safe-regex.js';

describe('a pattern of a caller', () => {
  it.each([
    ['web', 'my-web-1', true],
    ['^web', 'my-web-1', false],
    ['^my.*1$', 'my-web-1', true],
    ['a|b+c', 'xbbbc', true],
    ['^(ab){2}$', 'abab', true],
    ['^(ab){2}$', 'ababab', false],
    ['^(ab){1,3}$', 'ababab', true],
    ['^[a-c]+\\d?$', 'abc9', true],
    ['^[^a-c]+$', 'abc', false],
    ['10\\.0', '10.0.0.1', true],
    ['10\\.0', '10x0', false],
    ['WEB', 'web', true],
    ['', 'anything', true],
    ['^$', '', true],
    ['^(a?){3}$', 'aa', true],
    ['[]x]', ']', true],
    ['{', '{', true],
  ])('%s in %s: %s', (pattern, text, found) => expect(matcher(pattern)(text)).toBe(found));
  it.each(['(', ')', '*', '[a', 'a{3,2}', '(?=a)', '\\', 'x'.repeat(300), '(a{99}){99}'])(
    'that is none is refused: %s',
    (p) => expect(() => matcher(p)).toThrow(BadPattern),
  );
  it('that is hostile costs no more than others', () => {
    const match = matcher('^(a+)+(a|a)*$');
    const started = process.cpuUsage().user;
    expect(match(`${'a'.repeat(255)}!`)).toBe(false);
    expect(process.cpuUsage().user - started).toBeLessThan(500_000);
  });
});
