import { type HostFilter, refusal } from '../candidate.js';

/** Members of a group share a host, or do not; the soft policies only weigh. */
export const serverGroup: HostFilter = {
  name: 'server group',
  concerns: ({ group }) => group !== null,
  check: ({ group }, host) => {
    if (group?.policy === 'affinity' && group.membersOn.size > 0 && !group.membersOn.has(host.hostId))
      return refusal('server group affinity', 'the host of its group', 'another host');
    if (group?.policy !== 'anti-affinity') return null;
    const members = group.membersOn.get(host.hostId) ?? 0;
    if (members < group.maxPerHost) return null;
    return refusal('server group anti-affinity', `fewer than ${group.maxPerHost} members`, String(members), -members);
  },
};
