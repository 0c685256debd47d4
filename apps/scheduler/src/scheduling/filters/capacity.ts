import { type HostFilter, refusal } from '../candidate.js';
import { shortageOf } from '../provider/provider.js';

/** Room for each resource, with the inventory's rules. */
export const capacity: HostFilter = {
  name: 'capacity',
  concerns: () => true,
  check: ({ resources }, host) => {
    const shortage = shortageOf(resources, host);
    return shortage && refusal(shortage.constraint, String(shortage.wanted), String(shortage.had), shortage.had);
  },
};
