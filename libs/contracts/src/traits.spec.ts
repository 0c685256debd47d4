import { expect, it } from 'vitest';
import { features, isReached } from './traits.js';

it('gives each feature a trait of its own, in the form Placement demands', () => {
  const traits = Object.values(features).map(({ trait }) => trait);
  expect(new Set(traits).size).toBe(traits.length);
  for (const trait of traits) expect(trait).toMatch(/^(COMPUTE|CUSTOM_OMNIVISOR)_[A-Z_]+$/);
});

it('knows what the API does not lead to yet', () => {
  expect(isReached('pausing')).toBe(true);
  expect(isReached('disks')).toBe(false);
});
