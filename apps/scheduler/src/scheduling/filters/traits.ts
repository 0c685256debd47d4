import { type GuestFilter, refusal } from '../candidate.js';

/** Traits that the flavor or the image requires, and those the flavor forbids. */
export const traits: GuestFilter = {
  name: 'traits',
  check: ({ requiredTraits, forbiddenTraits }, hostClass) => {
    const missing = requiredTraits.find((t) => !hostClass.traits.has(t));
    if (missing !== undefined) return refusal(`trait ${missing}`, 'required', 'missing');
    const present = forbiddenTraits.find((t) => hostClass.traits.has(t));
    return present === undefined ? null : refusal(`trait ${present}`, 'forbidden', 'present');
  },
};
