import type { ClassFilter, GuestFilter, HostFilter } from '../candidate.js';
import { availabilityZone } from './availability-zone.js';
import { capabilities } from './capabilities.js';
import { capacity } from './capacity.js';
import { computeStatus } from './compute-status.js';
import { differentHost } from './different-host.js';
import { excludedHosts } from './excluded-hosts.js';
import { guestReadiness } from './guest-readiness.js';
import { hardwareWishes } from './hardware-wishes.js';
import { imageHardware } from './image-hardware.js';
import { imageProperties } from './image-properties.js';
import { machine } from './machine.js';
import { networkNeeds } from './network-needs.js';
import { requestedHost } from './requested-host.js';
import { sameHost } from './same-host.js';
import { serverGroup } from './server-group.js';
import { traits } from './traits.js';

// In the order in which they are asked: an explanation names the first that fails.
export const guestFilters: readonly GuestFilter[] = [
  traits,
  capabilities,
  imageProperties,
  imageHardware,
  hardwareWishes,
  guestReadiness,
];
export const classFilters: readonly ClassFilter[] = [computeStatus, availabilityZone, ...guestFilters, networkNeeds];
export const hostFilters: readonly HostFilter[] = [
  requestedHost,
  capacity,
  excludedHosts,
  machine,
  differentHost,
  sameHost,
  serverGroup,
];
