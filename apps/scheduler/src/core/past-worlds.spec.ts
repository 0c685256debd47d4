import type { Position } from '@omnivisor/contracts';
import { expect, it } from 'vitest';
import { PastWorlds } from './past-worlds.js';

const position = (n: number) => n as Position;

/** A log without events, which answers when it is let, and a clock whose timers are run by hand. */
const past = () => {
  const answers: (() => void)[] = [];
  const timers: (() => void)[] = [];
  const worlds = new PastWorlds(
    { readAll: () => new Promise((resolve) => answers.push(() => resolve([]))) },
    {
      after: (_, action) => {
        timers.push(action);
        return () => undefined;
      },
    },
  );
  const answer = async () => {
    await expect.poll(() => answers.length).toBeGreaterThan(0);
    answers.shift()!();
  };
  return { worlds, answer, timers };
};

it('folds one moment after the other, each once, and forgets them after a while', async () => {
  const { worlds, answer, timers } = past();
  const [one, again, two] = [1, 1, 2].map((n) => worlds.at(position(n)));
  await answer();
  expect(await again).toBe(await one);
  await answer();
  expect(await two).not.toBe(await one);
  expect(await worlds.at(position(1))).toBe(await one);
  await expect.poll(() => timers.length).toBe(2);
  for (const forget of timers) forget();
  const anew = worlds.at(position(1));
  await answer();
  expect(await anew).not.toBe(await one);
});

it('refuses more moments than it can fold in a while', async () => {
  const { worlds, answer } = past();
  const waiting = [1, 2, 3, 4].map((n) => worlds.at(position(n)));
  await expect(worlds.at(position(5))).rejects.toMatchObject({ kind: 'unavailable' });
  for (const world of waiting) {
    await answer();
    await world;
  }
  const next = worlds.at(position(5));
  await answer();
  await next;
});
