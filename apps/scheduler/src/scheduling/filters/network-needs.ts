import { type ClassFilter, refusal } from '../candidate.js';

/** What the networks of a server ask for; hosts that say nothing of networks find out when they spawn. */
export const networkNeeds: ClassFilter = {
  name: 'network',
  check: ({ request }, { traits, tellsNetworks }) => {
    if (!tellsNetworks) return null;
    const missing = request.networkNeeds?.find(({ trait }) => !traits.has(trait));
    return missing ? refusal(missing.constraint, missing.wanted, 'not offered') : null;
  },
};
