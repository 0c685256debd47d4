import { expect, it } from 'vitest';
import { z } from 'zod';
import { areSame, told } from './told.js';

const Ticket = z.strictObject({ key: z.string().length(4) });

it.each(['no JSON of secret', '{"key":"secret"}', '{"key":"kkkk","more":"secret"}', 'null'])(
  'refuses %s, and tells nothing of it',
  (text) => {
    const refused = () => told(Ticket, text, 'this is no ticket');
    expect(refused).toThrow(expect.objectContaining({ code: 'fault', message: 'this is no ticket' }));
    try {
      refused();
    } catch (error) {
      expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('secret');
    }
  },
);
it('takes what was told', () => expect(told(Ticket, '{"key":"kkkk"}', '')).toEqual({ key: 'kkkk' }));

it('tells names apart that have commas', () => {
  expect(areSame(['b', 'a'], ['a', 'b'])).toBe(true);
  expect(areSame(['a,b'], ['a', 'b'])).toBe(false);
  expect(areSame(['a', 'a'], ['a', 'b'])).toBe(false);
});
