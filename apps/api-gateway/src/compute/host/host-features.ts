import { conflict, type Feature, features, unsupported } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { hostTable } from './host.projection.js';

/**
 * Refuses what the host of a server cannot do before anything is accepted. A server that is on no host is judged by its
 * state.
 * @throws DomainError `unsupported`
 */
export const requireFeature = async (
  rows: RowReader,
  server: { readonly onHost: string | null },
  feature: Feature,
  refusal = 'The requested functionality is not supported.',
): Promise<void> => {
  const host = server.onHost === null ? undefined : await rows.get(hostTable, server.onHost);
  if (host?.facts && !host.facts.traits.includes(features[feature].trait)) throw unsupported(refusal);
};

/**
 * Refuses what the host of a server would never do, because it has left the cloud, and what does not wait for one that is
 * down. A server that is on no host is judged by its state.
 * @throws DomainError `conflict`
 */
export const requireHost = async (
  rows: RowReader,
  server: { readonly id: string; readonly onHost: string | null },
  waits: boolean,
): Promise<void> => {
  const host = server.onHost === null ? undefined : await rows.get(hostTable, server.onHost);
  if (host?.retired) throw conflict(`The host of instance ${server.id} has left the cloud`);
  if (host && !host.up && !waits) throw conflict('Service is unavailable at this time.');
};
