import type { SchedulingRow } from './scheduling.projection.js';

/**
 * One decision of `GET /servers/{id}/os-omnivisor-scheduling`. Administrators see hosts; owners see counts, numbers and
 * the smallest change of the request that would have fitted.
 */
export const schedulingView = (row: SchedulingRow, asAdmin: boolean) => ({
  attempt: row.attempt,
  outcome: row.outcome,
  decided_at: row.decidedAt,
  event_id: row.eventId,
  message: row.message,
  hosts_considered: row.explanation.hostsConsidered,
  hosts_fitting: row.explanation.hostsFitting,
  refusals: row.explanation.refusals.map((r) => ({
    constraint: r.constraint,
    host_class: asAdmin ? r.hostClass : null,
    hosts: r.hosts,
    wanted: r.wanted,
    best_had: r.bestHad,
  })),
  smallest_change: row.explanation.smallestChange,
  weigher: row.explanation.weigher,
  settings_version: row.explanation.settingsVersion,
  log_position: row.explanation.position,
  hosts: asAdmin ? row.explanation.sample : null,
});
