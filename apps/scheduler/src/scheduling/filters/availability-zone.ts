import { type ClassFilter, refusal } from '../candidate.js';

export const availabilityZone: ClassFilter = {
  name: 'availability zone',
  check: ({ request }, hostClass) =>
    request.availabilityZone === null || request.availabilityZone === hostClass.availabilityZone
      ? null
      : refusal('availability zone', request.availabilityZone, hostClass.availabilityZone),
};
