import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { moduleTable } from '../doubles/hyperv/binder.mjs';
import { typesFrom } from './hyperv-cmdlets.mjs';

it('gives the driver the types of the table that the double holds it to', () => {
  const types = new URL('../../apps/compute-agent/src/drivers/hyperv/generated/cmdlets.ts', import.meta.url);
  expect(typesFrom(moduleTable)).toBe(readFileSync(types, 'utf8'));
});
