import assert from 'node:assert/strict';
import type { DomainEvent } from '@omnivisor/contracts';
import type { Decider } from '../decider.js';

/** given(events).when(command).then(events): the form of a decider's spec. */
export const specificationOf =
  <S, C, E extends DomainEvent>(decider: Decider<S, C, E>) =>
  (...past: E[]) => ({
    when: (command: C) => {
      const run = () => decider.decide(command, past.reduce(decider.evolve, decider.initial));
      return {
        then: (...expected: E[]) => assert.deepStrictEqual(run(), expected),
        thenNothing: () => assert.deepStrictEqual(run(), []),
        /** Refused with this kind, and a message that fits. */
        thenRefused: (kind: string, message?: RegExp) =>
          assert.throws(run, (error: { kind?: string; message: string }) => {
            assert.equal(error.kind, kind);
            if (message) assert.match(error.message, message);
            return true;
          }),
      };
    },
  });
