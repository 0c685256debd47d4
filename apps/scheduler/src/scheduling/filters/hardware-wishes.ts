import { TELLS_WISHES } from '@omnivisor/contracts';
import { type GuestFilter, refusal } from '../candidate.js';

/** What image and flavor ask for; hosts that do not say what they serve find out when they spawn. */
export const hardwareWishes: GuestFilter = {
  name: 'hardware wishes',
  check: ({ wishes }, { traits }) => {
    if (wishes.length === 0 || !traits.has(TELLS_WISHES)) return null;
    const missing = wishes.find(({ trait }) => !traits.has(trait));
    return missing ? refusal(missing.key, missing.value, 'not offered') : null;
  },
};
