import type { Projection } from '@omnivisor/eventsourcing';

/** Every table of the gateway's read model; one line per area. */
export const gatewayProjections: readonly Projection[] = [];
