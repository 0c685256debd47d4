import {
  conflict,
  type HostEvent,
  type HostFacts,
  type HostId,
  hostBus,
  hostEvents,
  notFound,
  type ProbeResult,
  type ProviderId,
  type ServerId,
  unsupported,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import { evolveHost, type Host, noHost } from './host.js';

export type HostCommand =
  | {
      readonly type: 'enroll';
      readonly hostId: HostId;
      readonly name: string;
      readonly availabilityZone: string;
      readonly publicKey: string;
      readonly providerId: ProviderId;
    }
  | {
      readonly type: 'hello';
      readonly hostId: HostId;
      readonly facts: HostFacts;
      /** The session that it ends; whichever there is when not given. */
      readonly after?: number | undefined;
    }
  | {
      readonly type: 'probed';
      readonly hostId: HostId;
      readonly session: number;
      readonly probes: readonly ProbeResult[];
      readonly facts?: HostFacts | undefined;
    }
  | { readonly type: 'up'; readonly hostId: HostId; readonly session: number }
  | { readonly type: 'down'; readonly hostId: HostId; readonly session: number; readonly missedBeats: number }
  | { readonly type: 'enable'; readonly hostId: HostId }
  | { readonly type: 'disable'; readonly hostId: HostId; readonly reason: string | null }
  | { readonly type: 'enterMaintenance'; readonly hostId: HostId; readonly reason: string | null }
  | { readonly type: 'leaveMaintenance'; readonly hostId: HostId }
  | {
      readonly type: 'maintained';
      readonly hostId: HostId;
      readonly session: number;
      readonly generation: number;
      /** Why it was not done; null when it was. */
      readonly error: string | null;
    }
  | { readonly type: 'fence'; readonly hostId: HostId; readonly reason: string }
  | { readonly type: 'retire'; readonly hostId: HostId }
  | {
      readonly type: 'reportQuarantine';
      readonly hostId: HostId;
      readonly session: number;
      readonly guests: readonly { readonly serverId: ServerId; readonly attempt: number; readonly reason: string }[];
    }
  | {
      readonly type: 'settleQuarantine';
      readonly hostId: HostId;
      readonly serverId: ServerId;
      readonly verdict: 'keep' | 'discard';
      /** The guest that is meant; whichever is there when not given. */
      readonly attempt?: number | undefined;
    };

const enroll = (command: Extract<HostCommand, { type: 'enroll' }>, host: Host): HostEvent[] => {
  const { type: _, ...data } = command;
  if (!host.exists) return [{ type: 'HostEnrolled', data }];
  if (host.publicKey === command.publicKey && !host.retired) return [];
  throw conflict(`host ${command.name} is enrolled already; retire it first to enroll it with another key`);
};

const reportQuarantine = (
  { hostId, session, guests }: Extract<HostCommand, { type: 'reportQuarantine' }>,
  host: Host,
): HostEvent[] => {
  if (session !== host.session) throw hostBus.sessionEnded(session, host.session);
  const here = new Set<string>(guests.map((g) => g.serverId));
  const found = guests.filter((g) => host.quarantine[g.serverId]?.attempt !== g.attempt);
  return [
    ...found.map((guest): HostEvent => ({ type: 'HostQuarantineReported', data: { hostId, ...guest } })),
    ...Object.keys(host.quarantine)
      .filter((id) => !here.has(id))
      .map((id): HostEvent => ({ type: 'HostQuarantineCleared', data: { hostId, serverId: id as ServerId } })),
  ];
};

const textOf = (probes: readonly ProbeResult[]): string =>
  JSON.stringify(probes.map(({ backend, health, reason, version }) => [backend, health, reason, version]));

/** Whatever order its fields came in, but for how its hypervisors are. */
const factsText = ({ probes: _, ...facts }: HostFacts): string =>
  JSON.stringify(facts, (_key, value) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );

/** An agent that has found no hypervisor speaks for a host that nobody drives. */
const probed = (
  { hostId, session, probes, facts }: Extract<HostCommand, { type: 'probed' }>,
  host: Host,
): HostEvent[] => {
  if (session === 0 ? host.up : session !== host.session) throw hostBus.sessionEnded(session, host.session);
  const isNews = facts && !(host.facts && factsText(facts) === factsText(host.facts));
  if (!isNews && textOf(probes) === textOf(host.probes)) return [];
  return [{ type: 'HostProbed', data: { hostId, probes: [...probes], ...(facts ? { facts } : {}) } }];
};

/** The reason for which a host in maintenance gets no servers. */
const closedFor = (reason: string | null): string => (reason === null ? 'maintenance' : `maintenance: ${reason}`);

type MaintenanceCommand = Extract<HostCommand, { type: 'enterMaintenance' | 'leaveMaintenance' }>;

/** Servers stay away from it at once, and come again when its hypervisor takes guests again. */
const askForMaintenance = (command: MaintenanceCommand, host: Host): HostEvent[] => {
  const { hostId } = command;
  const on = command.type === 'enterMaintenance';
  const { maintenance } = host;
  if (maintenance?.on === on && maintenance.state === 'asked') return [];
  if (!host.facts?.maintenance)
    throw unsupported(
      `host ${host.name} cannot be emptied by its hypervisor: it is a whole pool or cluster, which has nowhere to go, or of a kind that does not do it`,
    );
  if (!host.up) throw conflict(`host ${host.name} is down: nobody there can ask its hypervisor`);
  const generation = (maintenance?.generation ?? 0) + 1;
  if (command.type === 'leaveMaintenance')
    return [{ type: 'HostMaintenanceEndRequested', data: { hostId, generation } }];
  const { reason } = command;
  return [
    { type: 'HostMaintenanceRequested', data: { hostId, generation, reason } },
    ...(host.enabled ? [{ type: 'HostDisabled', data: { hostId, reason: closedFor(reason) } } as const] : []),
  ];
};

const maintained = (
  { hostId, session, generation, error }: Extract<HostCommand, { type: 'maintained' }>,
  host: Host,
): HostEvent[] => {
  if (session !== host.session) throw hostBus.sessionEnded(session, host.session);
  const { maintenance } = host;
  if (maintenance?.generation !== generation || maintenance.state !== 'asked') return [];
  if (error !== null) return [{ type: 'HostMaintenanceFailed', data: { hostId, generation, reason: error } }];
  if (maintenance.on) return [{ type: 'HostMaintenanceEntered', data: { hostId, generation } }];
  return [
    { type: 'HostMaintenanceLeft', data: { hostId, generation } },
    ...(maintenance.closes ? [{ type: 'HostEnabled', data: { hostId } } as const] : []),
  ];
};

/** Nobody is there any more to do what was asked. */
const endMaintenance = (hostId: HostId, { maintenance }: Host, reason: string): HostEvent[] =>
  maintenance?.state === 'asked'
    ? [{ type: 'HostMaintenanceFailed', data: { hostId, generation: maintenance.generation, reason } }]
    : [];

const decide = (command: HostCommand, host: Host): HostEvent[] => {
  if (command.type === 'enroll') return enroll(command, host);
  if (!host.exists) throw notFound('this host is not enrolled');
  const { hostId } = command;
  if (command.type === 'retire') {
    if (host.retired) return [];
    if (host.up) throw conflict(`host ${host.name} is up; stop its agent first`);
    return [...endMaintenance(hostId, host, 'the host was retired'), { type: 'HostRetired', data: { hostId } }];
  }
  if (host.retired) throw conflict(`host ${host.name} is retired`);
  switch (command.type) {
    case 'hello':
      if (command.after !== undefined && command.after !== host.session) throw hostBus.sessionTaken(host.session);
      return [{ type: 'HostSessionStarted', data: { hostId, session: host.session + 1, facts: command.facts } }];
    case 'probed':
      return probed(command, host);
    case 'up':
      if (command.session !== host.session || host.up || host.fenced) return [];
      return [{ type: 'HostWentUp', data: { hostId, session: host.session } }];
    case 'down':
      if (command.session !== host.session || !host.up) return [];
      return [{ type: 'HostWentDown', data: { hostId, session: host.session, missedBeats: command.missedBeats } }];
    case 'enable':
      return host.enabled ? [] : [{ type: 'HostEnabled', data: { hostId } }];
    case 'disable':
      if (!host.enabled && host.disabledReason === command.reason && !host.maintenance?.closes) return [];
      return [{ type: 'HostDisabled', data: { hostId, reason: command.reason } }];
    case 'enterMaintenance':
    case 'leaveMaintenance':
      return askForMaintenance(command, host);
    case 'maintained':
      return maintained(command, host);
    case 'fence':
      if (host.fenced) return [];
      if (host.up) throw conflict(`host ${host.name} is up; a host that answers cannot be declared fenced`);
      return [
        ...endMaintenance(hostId, host, 'the host was fenced'),
        { type: 'HostFenced', data: { hostId, reason: command.reason } },
      ];
    case 'reportQuarantine':
      return reportQuarantine(command, host);
    case 'settleQuarantine': {
      const guest = host.quarantine[command.serverId];
      if (!guest) throw notFound('no such guest in quarantine on this host');
      if (command.attempt !== undefined && command.attempt !== guest.attempt)
        throw conflict(`the guest in quarantine there is of attempt ${guest.attempt}`);
      if (guest.verdict === command.verdict) return [];
      const { serverId, verdict } = command;
      return [{ type: 'HostQuarantineSettled', data: { hostId, serverId, verdict } }];
    }
  }
};

export const hostAggregate: Aggregate<Host, HostCommand, HostEvent> = {
  events: hostEvents,
  initial: noHost,
  decide,
  evolve: evolveHost,
};
