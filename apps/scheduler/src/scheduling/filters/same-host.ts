import { type HostFilter, refusal } from '../candidate.js';

export const sameHost: HostFilter = {
  name: 'same_host',
  concerns: ({ sameHosts }) => sameHosts !== null,
  check: ({ sameHosts }, host) =>
    sameHosts === null || sameHosts.has(host.hostId)
      ? null
      : refusal('same_host', 'the host of the named servers', 'has none of them'),
};
