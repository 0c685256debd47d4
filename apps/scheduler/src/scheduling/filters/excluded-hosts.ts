import { type HostFilter, refusal } from '../candidate.js';

/** Hosts that failed earlier attempts of this server. */
export const excludedHosts: HostFilter = {
  name: 'earlier attempts',
  concerns: ({ request }) => request.excludeHosts.length > 0,
  check: ({ request }, host) =>
    request.excludeHosts.includes(host.hostId)
      ? refusal('earlier attempts', 'a host that did not fail it before', 'failed before')
      : null,
};
