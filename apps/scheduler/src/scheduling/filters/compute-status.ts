import { type ClassFilter, refusal } from '../candidate.js';

/** A host gets servers while it is up, enabled, and its hypervisor could run a guest. */
export const computeStatus: ClassFilter = {
  name: 'status',
  check: (_, { up, enabled, healthy }) => {
    if (!enabled) return refusal('enabled', 'an enabled host', 'disabled', 2);
    if (!up) return refusal('up', 'a host that is up', 'down', 1);
    return healthy ? null : refusal('healthy', 'a healthy hypervisor', 'unhealthy', 0);
  },
};
