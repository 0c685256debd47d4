import { type HostEvent, type HostFacts, type HostId, hostEvents, type ProviderId } from '@omnivisor/contracts';

export interface QuarantinedGuest {
  readonly attempt: number;
  readonly reason: string;
  readonly verdict: 'keep' | 'discard' | null;
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
  readonly up: boolean;
  readonly enabled: boolean;
  readonly disabledReason: string | null;
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
  up: false,
  enabled: true,
  disabledReason: null,
  fenced: false,
  retired: false,
  quarantine: {},
};

export const evolveHost = (host: Host, event: HostEvent): Host => {
  switch (event.type) {
    case 'HostEnrolled': {
      const { hostId, name, availabilityZone, providerId, publicKey } = event.data;
      return { ...noHost, exists: true, id: hostId, name, availabilityZone, providerId, publicKey };
    }
    case 'HostSessionStarted':
      return { ...host, session: event.data.session, facts: event.data.facts, up: true, fenced: false };
    case 'HostWentUp':
      return { ...host, up: true };
    case 'HostWentDown':
      return { ...host, up: false };
    case 'HostEnabled':
      return { ...host, enabled: true, disabledReason: null };
    case 'HostDisabled':
      return { ...host, enabled: false, disabledReason: event.data.reason };
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
