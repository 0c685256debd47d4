import type { Projection } from '@omnivisor/eventsourcing';
import { consoleGrantProjection, consoleRevocationProjection } from './console/console.projection.js';
import { flavorProjection } from './flavor/flavor.projection.js';
import { serverActionProjection } from './instance-action/instance-action.projection.js';
import { serverEndingsProjection } from './instance-action/server-endings.projection.js';
import { keypairProjection } from './keypair/keypair.projection.js';
import { serverGroupProjection } from './server-group/server-group.projection.js';

/** The tables of the Compute API around servers and hosts. */
export const computeProjections: readonly Projection[] = [
  flavorProjection,
  keypairProjection,
  serverGroupProjection,
  serverActionProjection,
  serverEndingsProjection,
  consoleGrantProjection,
  consoleRevocationProjection,
] as readonly Projection[];
