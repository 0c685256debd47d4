import { readFileSync } from 'node:fs';
import { eventSets } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { catalog } from './event-catalog.mjs';

describe('the event catalog', () => {
  const text = catalog(eventSets, z.toJSONSchema);

  it('is what the schemas say; after a change run tsc -b && node tools/generate/event-catalog.mjs', () =>
    expect(readFileSync(new URL('../../docs/event-catalog.md', import.meta.url), 'utf8')).toBe(text));

  it('has every event once', () => {
    for (const type of eventSets.flatMap((set) => Object.keys(set.events)))
      expect(text.split(`\n### ${type}\n`)).toHaveLength(2);
  });
});
