import type { HostEvent, HostFacts, HostId, Instant, Position, ProbeResult } from '@omnivisor/contracts';
import { projection, table } from '@omnivisor/eventsourcing';

/** A compute host as the gateway knows it from the log. */
export interface HostRow {
  readonly id: string;
  readonly name: string;
  readonly providerId: string;
  readonly availabilityZone: string;
  /** 0 until an agent took it up. */
  readonly session: number;
  readonly facts: HostFacts | null;
  /** How its hypervisors are. */
  readonly probes: readonly ProbeResult[];
  readonly up: boolean;
  readonly enabled: boolean;
  readonly disabledReason: string | null;
  readonly fenced: boolean;
  readonly retired: boolean;
  /** Guests with our mark that nothing asks for, and what an operator said of them. */
  readonly quarantine: Readonly<
    Record<string, { attempt: number; reason: string; verdict: 'keep' | 'discard' | null }>
  >;
  readonly createdAt: Instant;
  readonly updatedAt: Instant;
  readonly changedAt: Position;
}

export const hostTable = table<HostRow>('hosts_v3', ['name']);

/** Those of the hosts that have a guest of the server which the log does not know. */
export const straysOf = (hosts: readonly HostRow[], serverId: string): HostId[] =>
  hosts.filter(({ quarantine }) => serverId in quarantine).map(({ id }) => id as HostId);

type Row = HostRow | undefined;
const change =
  (
    patch: (
      row: HostRow,
      event: { readonly data: never; readonly recordedAt: Instant; readonly position: Position },
    ) => Partial<HostRow>,
  ) =>
  (row: Row, event: { readonly data: unknown; readonly recordedAt: Instant; readonly position: Position }): Row =>
    row && { ...row, ...patch(row, event as never), updatedAt: event.recordedAt, changedAt: event.position };

const byHost = (event: { readonly data: { readonly hostId: string } }) => event.data.hostId;

export const hostProjection = projection<HostEvent, HostRow>(hostTable, {
  HostEnrolled: {
    key: byHost,
    row: (_, { data, recordedAt, position }) => ({
      id: data.hostId,
      name: data.name,
      providerId: data.providerId,
      availabilityZone: data.availabilityZone,
      session: 0,
      facts: null,
      probes: [],
      up: false,
      enabled: true,
      disabledReason: null,
      fenced: false,
      retired: false,
      quarantine: {},
      createdAt: recordedAt,
      updatedAt: recordedAt,
      changedAt: position,
    }),
  },
  HostSessionStarted: {
    key: byHost,
    row: (row, event) =>
      change(() => {
        const { session, facts } = event.data;
        return { session, facts, probes: facts.probes, up: true, fenced: false };
      })(row, event),
  },
  HostProbed: {
    key: byHost,
    row: (row, event) => change((r) => ({ probes: event.data.probes, facts: event.data.facts ?? r.facts }))(row, event),
  },
  HostWentUp: { key: byHost, row: change(() => ({ up: true })) },
  HostWentDown: { key: byHost, row: change(() => ({ up: false })) },
  HostEnabled: { key: byHost, row: change(() => ({ enabled: true, disabledReason: null })) },
  HostDisabled: {
    key: byHost,
    row: (row, event) => change(() => ({ enabled: false, disabledReason: event.data.reason }))(row, event),
  },
  // What operators see of it is that the host is disabled, and ill while its hypervisor takes no guests.
  HostMaintenanceRequested: { key: byHost, row: change(() => ({})) },
  HostMaintenanceEntered: { key: byHost, row: change(() => ({})) },
  HostMaintenanceEndRequested: { key: byHost, row: change(() => ({})) },
  HostMaintenanceLeft: { key: byHost, row: change(() => ({})) },
  HostMaintenanceFailed: { key: byHost, row: change(() => ({})) },
  HostFenced: { key: byHost, row: change(() => ({ fenced: true, up: false })) },
  HostRetired: { key: byHost, row: change(() => ({ retired: true, up: false })) },
  HostQuarantineReported: {
    key: byHost,
    row: (row, event) =>
      change((r) => {
        const { serverId, attempt, reason } = event.data;
        const before = r.quarantine[serverId];
        // An operator spoke of the guest that was there, not of another one of the server.
        const verdict = before?.attempt === attempt ? before.verdict : null;
        return { quarantine: { ...r.quarantine, [serverId]: { attempt, reason, verdict } } };
      })(row, event),
  },
  HostQuarantineSettled: {
    key: byHost,
    row: (row, event) =>
      change((r) => {
        const found = r.quarantine[event.data.serverId];
        return found
          ? { quarantine: { ...r.quarantine, [event.data.serverId]: { ...found, verdict: event.data.verdict } } }
          : {};
      })(row, event),
  },
  HostQuarantineCleared: {
    key: byHost,
    row: (row, event) =>
      change((r) => {
        const { [event.data.serverId]: _, ...rest } = r.quarantine;
        return { quarantine: rest };
      })(row, event),
  },
});
