import type { Projection } from '@omnivisor/eventsourcing';
import { networkProjection } from './network/network.projection.js';
import { portProjection } from './port/port.projection.js';
import { addressProjection, groupMemberProjection, portHostProjection } from './port/port-outlines.projection.js';
import { networkQuotaProjection } from './quota/network-quota.projection.js';
import { securityGroupProjection, securityGroupRuleProjection } from './security-group/security-group.projection.js';
import { subnetProjection } from './subnet/subnet.projection.js';

export const networkProjections: readonly Projection[] = [
  networkProjection,
  subnetProjection,
  portProjection,
  portHostProjection,
  groupMemberProjection,
  addressProjection,
  securityGroupProjection,
  securityGroupRuleProjection,
  networkQuotaProjection,
] as unknown as readonly Projection[];
