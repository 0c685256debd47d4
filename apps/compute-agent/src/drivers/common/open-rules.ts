import type { PortGuard } from '../hypervisor-driver.js';

type Rule = PortGuard['rules'][number];

/** True when rules ask for no filter one way, for hypervisors that have none. */
export const letsAllPass = (
  rules: readonly Rule[],
  direction: Rule['direction'],
  ethertype: Rule['ethertype'],
): boolean =>
  rules.some(
    (rule) =>
      rule.direction === direction &&
      rule.ethertype === ethertype &&
      rule.protocol === null &&
      rule.portMin === null &&
      rule.portMax === null &&
      rule.remotePrefixes.some((prefix) => prefix.endsWith('/0')),
  );
