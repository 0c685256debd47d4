import { describe, expect, it } from 'vitest';
import { consoleText } from './console-text.js';

describe('the text of a console', () => {
  it.each([
    [null, 'one\ntwo\nthree\n'],
    [-1, 'one\ntwo\nthree\n'],
    [0, ''],
    [1, ''],
    [3, 'two\nthree\n'],
    [99, 'one\ntwo\nthree\n'],
  ])('has as many lines as asked for, counted as Nova does: %s', (lines, expected) =>
    expect(consoleText('one\ntwo\nthree\n', lines)).toBe(expected),
  );
  it('has no control characters but tabs and line ends', () =>
    expect(consoleText('\u001b[1mlogin:\u0007\t\u0000x\r\n', null)).toBe('[1mlogin:\tx\r\n'));
});
