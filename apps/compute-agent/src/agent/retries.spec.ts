import { seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { expect, it } from 'vitest';
import { Retries } from './retries.js';

const under = (random: () => number) => {
  const clock = new VirtualClock();
  const retries = new Retries(clock, random);
  const start = Date.parse(clock.now());
  const tries: number[] = [];
  const failing = () => {
    tries.push(Date.parse(clock.now()) - start);
    retries.later('x', failing);
  };
  return { clock, retries, tries, failing };
};

it('tries again after pauses that grow up to a bound, and begin anew after a success', async () => {
  const { clock, retries, tries, failing } = under(() => 0.5);
  failing();
  await clock.advance(seconds(62));
  expect(tries).toEqual([0, 500, 1_500, 3_500, 7_500, 15_500, 30_500, 45_500, 60_500]);
  retries.succeeded('x');
  expect(retries.pause('x')).toBe(500);
});

it('spreads tries that failed together', () => {
  expect(under(() => 0).retries.pause('x')).toBe(250);
  expect(under(() => 0.999).retries.pause('x')).toBeGreaterThan(740);
});

it('tries at once when told that what all waited for is back, and not at all when it is over', async () => {
  const { clock, retries, tries, failing } = under(() => 0.5);
  failing();
  retries.now();
  expect(tries).toEqual([0, 0]);
  retries.cancel();
  await clock.advance(seconds(60));
  expect(tries).toEqual([0, 0]);
});
