import { expect, it } from 'vitest';
import { historyOf } from './faults/history.js';
import { run } from './faults/run.js';

const BLOCK = 25;
const blocks = Array.from({ length: 12 }, (_, i) => 1 + i * BLOCK);

it.each(blocks)(
  'every invariant holds, whatever happens to the cloud, from seed %i on',
  async (first) => {
    for (let seed = first; seed < first + BLOCK; seed++) {
      const { violations } = await run(historyOf(seed));
      expect(violations, `npm run simulate -- --seed ${seed}`).toEqual([]);
    }
  },
  300_000,
);
