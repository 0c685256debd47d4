import type { Candidate, Wanted } from '../candidate.js';

/** Less is better: where the soft policies of a server group would rather have it. Comes before all other weights. */
export const softGroupOrder = ({ group }: Wanted, host: Candidate): number => {
  const members = group?.membersOn.get(host.hostId) ?? 0;
  if (group?.policy === 'soft-affinity') return -members;
  return group?.policy === 'soft-anti-affinity' ? members : 0;
};

export const isSoft = ({ group }: Wanted): boolean => group?.policy.startsWith('soft-') ?? false;
