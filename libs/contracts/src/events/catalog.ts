import type { EventDefinition, EventSet } from '../event-set.js';
import { consoleEvents } from './console.js';
import { credentialEvents } from './credential.js';
import { feedReaderEvents } from './feed-reader.js';
import { flavorEvents } from './flavor.js';
import { hostEvents } from './host.js';
import { identityEventSets } from './identity.js';
import { imageEvents } from './image.js';
import { keypairEvents } from './keypair.js';
import {
  addressPoolEvents,
  networkEvents,
  networkQuotaEvents,
  physicalNetworkEvents,
  portEvents,
  securityGroupEvents,
  subnetEvents,
} from './network.js';
import { personalEvents } from './personal.js';
import { placementEvents, providerEvents } from './provider.js';
import { quotaEvents } from './quota.js';
import { refusalEvents } from './refusal.js';
import { resourceRegistryEvents } from './resource-registry.js';
import { sealingEvents } from './sealing.js';
import { serverEvents } from './server.js';
import { serverGroupEvents } from './server-group.js';
import { unifiedLimitEvents } from './unified-limit.js';

/** Every kind of stream, in the order of the event catalog. */
export const eventSets: readonly EventSet[] = [
  ...identityEventSets,
  credentialEvents,
  unifiedLimitEvents,
  serverEvents,
  serverGroupEvents,
  keypairEvents,
  flavorEvents,
  consoleEvents,
  quotaEvents,
  hostEvents,
  providerEvents,
  placementEvents,
  resourceRegistryEvents,
  imageEvents,
  networkEvents,
  subnetEvents,
  addressPoolEvents,
  physicalNetworkEvents,
  portEvents,
  securityGroupEvents,
  networkQuotaEvents,
  refusalEvents,
  sealingEvents,
  personalEvents,
  feedReaderEvents,
];

const byType = new Map<string, EventSet>();
for (const set of eventSets)
  for (const type of Object.keys(set.events)) {
    if (byType.has(type)) throw new Error(`two streams define the event ${type}`);
    byType.set(type, set);
  }

/** The set that an event type is of; undefined for a type that this release does not know. */
export const eventSetOf = (type: string): EventSet | undefined => byType.get(type);

/** The definition of an event type; undefined for a type that this release does not know. */
export const definitionOf = (type: string): EventDefinition | undefined => byType.get(type)?.events[type];
