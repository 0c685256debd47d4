import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { bugs } from './faults/bugs.js';
import { type History, historyOf } from './faults/history.js';
import { run } from './faults/run.js';
import { shrink } from './faults/shrink.js';
import { type Bite, DEADLINE_WITH_BUG } from './faults/teeth.js';

const read = (file: string) => JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8'));
const found = readdirSync(new URL('found/', import.meta.url));
const bites: readonly Bite[] = read('teeth.json');
const bugNamed = (name: string) => bugs.find((bug) => bug.name === name)!;

describe('a simulated history', () => {
  it.each([7, 11, 180])('leaves the same trace each time, seed %i', async (seed) => {
    const [one, other] = [await run(historyOf(seed)), await run(historyOf(seed))];
    expect(other).toEqual(one);
  });

  it('is shortened to the steps that a failure needs', async () => {
    const bug = bugNamed('a destroyed guest stays where it is');
    const broken = 'noClaimReleasedUnderAGuest';
    const { history } = await shrink(historyOf(1), broken, bug);
    expect(history.steps.length).toBeLessThanOrEqual(3);
    const { violations } = await run(history, { bug });
    expect(violations.map((v) => v.invariant)).toContain(broken);
  }, 60_000);

  it.each(found)('keeps every invariant where it once broke one: %s', async (file) => {
    const { violations } = await run(read(`found/${file}`) as History);
    expect(violations).toEqual([]);
  });
});

describe('a planted bug', () => {
  it.each(bugs.map((bug) => [bug.name, bug] as const))(
    'is found: %s',
    async (name, bug) => {
      const { seed, invariant } = bites.find((bite) => bite.bug === name)!;
      const { violations } = await run(historyOf(seed), { bug, deadline: DEADLINE_WITH_BUG });
      expect(violations.map((v) => v.invariant)).toContain(invariant);
    },
    30_000,
  );
});
