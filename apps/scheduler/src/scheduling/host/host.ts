import {
  type HostEvent,
  type HostFacts,
  type HostId,
  hostEvents,
  type ProbeResult,
  type ProviderId,
} from '@omnivisor/contracts';

export interface QuarantinedGuest {
  readonly attempt: number;
  readonly reason: string;
  readonly verdict: 'keep' | 'discard' | null;
}

/** What operators last asked of the host's hypervisor, and what has become of it. */
export interface HostMaintenance {
  /** Counts what was asked. */
  readonly generation: number;
  /** True: to move its guests elsewhere, false: to take guests again. */
  readonly on: boolean;
  readonly state: 'asked' | 'done' | 'failed';
  /** Why, in the operator's words. */
  readonly reason: string | null;
  /** The host is disabled because of it, and by nobody since. */
  readonly closes: boolean;
  /** Why it failed, in the hypervisor's. */
  readonly error: string | null;
}

/** A compute host as its stream tells it. */
export interface Host {
  readonly exists: boolean;
  readonly id: HostId | null;
  readonly name: string;
  readonly availabilityZone: string;
  readonly providerId: ProviderId | null;
  readonly publicKey: string;
  /** 0 until an agent took the host up. */
  readonly session: number;
  readonly facts: HostFacts | null;
  /** How its hypervisors are. */
  readonly probes: readonly ProbeResult[];
  readonly up: boolean;
  readonly enabled: boolean;
  readonly disabledReason: string | null;
  readonly maintenance: HostMaintenance | null;
  readonly fenced: boolean;
  readonly retired: boolean;
  readonly quarantine: Readonly<Record<string, QuarantinedGuest>>;
}

export const noHost: Host = {
  exists: false,
  id: null,
  name: '',
  availabilityZone: '',
  providerId: null,
  publicKey: '',
  session: 0,
  facts: null,
  probes: [],
  up: false,
  enabled: true,
  disabledReason: null,
  maintenance: null,
  fenced: false,
  retired: false,
  quarantine: {},
};

const closing = ({ maintenance }: Host, closes: boolean): HostMaintenance | null =>
  maintenance && { ...maintenance, closes };

export const evolveHost = (host: Host, event: HostEvent): Host => {
  switch (event.type) {
    case 'HostEnrolled': {
      const { hostId, name, availabilityZone, providerId, publicKey } = event.data;
      return { ...noHost, exists: true, id: hostId, name, availabilityZone, providerId, publicKey };
    }
    case 'HostSessionStarted': {
      const { session, facts } = event.data;
      return { ...host, session, facts, probes: facts.probes, up: true, fenced: false };
    }
    case 'HostProbed':
      return { ...host, probes: event.data.probes, facts: event.data.facts ?? host.facts };
    case 'HostWentUp':
      return { ...host, up: true };
    case 'HostWentDown':
      return { ...host, up: false };
    case 'HostEnabled':
      return { ...host, enabled: true, disabledReason: null, maintenance: closing(host, false) };
    case 'HostDisabled': {
      // The first after it was asked for is its own.
      const maintenance = host.enabled ? host.maintenance : closing(host, false);
      return { ...host, enabled: false, disabledReason: event.data.reason, maintenance };
    }
    case 'HostMaintenanceRequested': {
      const { generation, reason } = event.data;
      const closes = host.enabled || host.maintenance?.closes === true;
      return { ...host, maintenance: { generation, on: true, state: 'asked', reason, closes, error: null } };
    }
    case 'HostMaintenanceEndRequested': {
      const { generation } = event.data;
      const { reason = null, closes = false } = host.maintenance ?? {};
      return { ...host, maintenance: { generation, on: false, state: 'asked', reason, closes, error: null } };
    }
    case 'HostMaintenanceEntered':
    case 'HostMaintenanceLeft':
      return { ...host, maintenance: host.maintenance && { ...host.maintenance, state: 'done' } };
    case 'HostMaintenanceFailed':
      return {
        ...host,
        maintenance: host.maintenance && { ...host.maintenance, state: 'failed', error: event.data.reason },
      };
    case 'HostFenced':
      return { ...host, fenced: true, up: false };
    case 'HostRetired':
      return { ...host, retired: true, up: false };
    case 'HostQuarantineReported': {
      const { serverId, attempt, reason } = event.data;
      const before = host.quarantine[serverId];
      const verdict = before?.attempt === attempt ? before.verdict : null;
      return { ...host, quarantine: { ...host.quarantine, [serverId]: { attempt, reason, verdict } } };
    }
    case 'HostQuarantineSettled': {
      const guest = host.quarantine[event.data.serverId];
      if (!guest) return host;
      const settled = { ...guest, verdict: event.data.verdict };
      return { ...host, quarantine: { ...host.quarantine, [event.data.serverId]: settled } };
    }
    case 'HostQuarantineCleared': {
      const { [event.data.serverId]: _, ...quarantine } = host.quarantine;
      return { ...host, quarantine };
    }
  }
};

const types = new Set(Object.keys(hostEvents.events));
export const isHostEvent = (event: { readonly type: string }): event is HostEvent => types.has(event.type);

/** True while a guest can run on the host, as far as it tells. */
export const isHealthy = ({ probes, facts }: Pick<Host, 'probes' | 'facts'>): boolean =>
  probes.length === 0 || probes.some((p) => p.backend === facts?.backend && p.health === 'healthy');
