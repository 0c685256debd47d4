import { type HostFilter, refusal } from '../candidate.js';

export const differentHost: HostFilter = {
  name: 'different_host',
  concerns: ({ differentHosts }) => differentHosts.size > 0,
  check: ({ differentHosts }, host) =>
    differentHosts.has(host.hostId)
      ? refusal('different_host', 'a host without the named servers', 'has one of them')
      : null,
};
