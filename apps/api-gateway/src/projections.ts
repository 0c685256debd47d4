import type { Projection } from '@omnivisor/eventsourcing';
import { computeProjections } from './compute/projections.js';

/** Every table of the gateway's read model; one line per area. */
export const gatewayProjections: readonly Projection[] = [...computeProjections];
