import type { ServiceType } from '../../operation.js';
import type { RuleTable } from '../rule.js';
import { auditRules } from './audit.js';
import { computeRules } from './compute.js';
import { identityRules } from './identity.js';
import { imageRules } from './image.js';
import { networkRules } from './network.js';
import { placementRules } from './placement.js';

/** OpenStack's rule names and their default rules. */
export const defaultRules: Readonly<Record<ServiceType, RuleTable>> = {
  compute: computeRules,
  identity: identityRules,
  image: imageRules,
  network: networkRules,
  placement: placementRules,
  volume: {},
  audit: auditRules,
};
