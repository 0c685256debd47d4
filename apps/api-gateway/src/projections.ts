import { derived, type Projection } from '@omnivisor/eventsourcing';
import { erasureProjection } from './audit/erasure/erasure.projection.js';
import { hostProjection } from './compute/host/host.projection.js';
import { migrationTable } from './compute/migration/migration.projection.js';
import { computeProjections } from './compute/projections.js';
import { schedulingProjection } from './compute/scheduling/scheduling.projection.js';
import { serverReadings } from './compute/server/create/server.reservation.js';
import { remainsTable, serverProjection } from './compute/server/view/server.projection.js';
import { identityProjections } from './identity/record/tables.js';
import { networkProjections } from './network/network.projections.js';
import { networkReadings } from './network/network.reservations.js';
import { reservationProjection } from './reservation/reservation.projection.js';

/** Every table of the gateway's read model; one line per area. */
export const gatewayProjections = [
  ...identityProjections,
  serverProjection,
  derived(remainsTable),
  derived(migrationTable),
  reservationProjection((event) => [...serverReadings(event), ...networkReadings(event)]),
  hostProjection,
  schedulingProjection,
  ...computeProjections,
  ...networkProjections,
  erasureProjection,
] as readonly Projection[];
