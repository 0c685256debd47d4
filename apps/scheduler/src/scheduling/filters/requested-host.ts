import { type HostFilter, refusal } from '../candidate.js';

/** An administrator may name the host, by its name or its hypervisor hostname. */
export const requestedHost: HostFilter = {
  name: 'requested host',
  concerns: ({ request }) => request.requestedHost !== null,
  check: ({ request }, host) =>
    request.requestedHost === null || request.requestedHost === host.name || request.requestedHost === host.node
      ? null
      : refusal('requested host', 'the host that was asked for', 'another host'),
};
