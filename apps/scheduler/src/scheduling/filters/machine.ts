import { type HostFilter, refusal } from '../candidate.js';

/** A network cannot span machines yet: the server has to go where its networks are. */
export const machine: HostFilter = {
  name: 'network on one machine',
  concerns: ({ machines }) => machines.length > 0,
  check: ({ machines }, host) =>
    machines.every((id) => id === host.machineId)
      ? null
      : refusal('network on one machine', 'the machine its networks are on', 'another machine'),
};
