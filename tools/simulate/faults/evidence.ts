import type { HostId, Instant, PowerState, RecordedEvent, ServerId } from '@omnivisor/contracts';
import type { ReplayReport } from '../../../apps/api-gateway/src/audit/replay.js';
import type { ServerRow } from '../../../apps/api-gateway/src/compute/server/view/server.projection.js';

/** A guest was made or removed on a host: not what an agent says of it, but what the machine saw. */
export interface Deed {
  readonly kind: 'made' | 'removed';
  readonly host: HostId;
  readonly serverId: ServerId;
  readonly attempt: number;
  readonly at: Instant;
  /** How often an older log had been restored by then. */
  readonly epoch: number;
  /** The server's stream as it was then. */
  readonly stream: readonly RecordedEvent[];
  /** An operator had given the guest up in quarantine. */
  readonly discarded: boolean;
}

/** An agent began to change a guest. */
export interface Move {
  readonly agent: string;
  readonly method: string;
  readonly host: HostId;
  readonly serverId: ServerId;
  readonly at: Instant;
  readonly stream: readonly RecordedEvent[];
  readonly discarded: boolean;
  /** For how long another session had had the host, in milliseconds; 0 for the session that has it. */
  readonly overFor: number;
}

/** A host said that nothing of an attempt is left on it, and the log believed it. */
export interface Absence {
  readonly host: HostId;
  readonly serverId: ServerId;
  readonly attempt: number;
  /** Something was. */
  readonly guestWasThere: boolean;
}

/** Something that a client was told is accepted. */
export interface Accepted {
  readonly kind: 'create' | 'delete' | 'act';
  readonly serverId: ServerId;
}

export interface HostEvidence {
  readonly id: HostId;
  readonly providerId: string;
  readonly guests: readonly { readonly serverId: ServerId; readonly attempt: number; readonly power: PowerState }[];
  /** Servers of guests that were reported because nobody asks for them, and that no operator gave up. */
  readonly quarantined: ReadonlySet<string>;
}

/** All that the invariants judge. */
export interface Evidence {
  readonly log: readonly RecordedEvent[];
  readonly deeds: readonly Deed[];
  readonly moves: readonly Move[];
  readonly absences: readonly Absence[];
  readonly accepted: readonly Accepted[];
  /** Servers that ran on two hosts at a time. */
  readonly doubles: readonly string[];
  /** Servers of which a hypervisor said what was not so. */
  readonly liedAbout: ReadonlySet<string>;
  /** Processes that went on for ever at one moment. */
  readonly goingRound: readonly string[];
  readonly hosts: readonly HostEvidence[];
  readonly servers: readonly ServerRow[];
  readonly replay: Pick<ReplayReport, 'equal' | 'differences'>;
}

/** What must hold; each returns what does not, in words. Pure. */
export type Invariant = (evidence: Evidence) => readonly string[];
