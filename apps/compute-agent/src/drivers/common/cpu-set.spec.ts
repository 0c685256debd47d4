import { expect, it } from 'vitest';
import { parseCpuSet } from './cpu-set.js';

it('reads sets of processors as Nova writes them', () => {
  expect(parseCpuSet('4-7,^5,1')).toEqual([1, 4, 6, 7]);
  expect(parseCpuSet('^2, 0-3')).toEqual([0, 1, 3]);
  expect(parseCpuSet('0')).toEqual([0]);
  for (const text of ['', 'a', '3-1', '1,,2', '-1', '0x1']) expect(parseCpuSet(text)).toBeNull();
});
