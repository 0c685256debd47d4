import type { Actor, RecordedEvent, ServerEvent } from '@omnivisor/contracts';
import type { SchedulingRow } from '../compute/scheduling/scheduling.projection.js';

/** One line of a server's story. */
export interface StoryLine {
  readonly at: string;
  readonly position: number;
  readonly eventId: string;
  readonly type: string;
  readonly who: string;
  readonly requestId: string | null;
  readonly what: string;
  readonly reasons: readonly string[];
}

const who = (actor: Actor): string =>
  actor.kind === 'service' ? actor.service : `user ${actor.userId}${actor.address ? ` from ${actor.address}` : ''}`;

/** What an event says of its server, in words. */
const tell = (event: ServerEvent): string => {
  const { type, data } = event;
  switch (type) {
    case 'ServerCreateRequested':
      return `asked for server "${data.name}" (flavor ${data.flavor.name}: ${data.flavor.vcpus} vCPU, ${data.flavor.memory} MiB, ${data.flavor.disk} GiB; image ${data.image.name ?? data.image.id})`;
    case 'ServerPortsAllocated': {
      const addresses = data.ports.flatMap((p) => p.fixedIps.map((ip) => `${ip.address} on ${p.networkName}`));
      return addresses.length > 0 ? `got its addresses: ${addresses.join(', ')}` : 'has no network';
    }
    case 'ServerScheduled':
      return `attempt ${data.attempt} goes to host ${data.hostName}`;
    case 'ServerAttemptAbandoned':
      return `attempt ${data.attempt} is abandoned: ${data.reason}`;
    case 'ServerSpawned':
      return `the host reports the guest of attempt ${data.attempt} as ${data.power}`;
    case 'ServerSpawnFailed':
      return `attempt ${data.attempt} failed on its host, nothing of it is left: ${data.reason}`;
    case 'ServerBuildFailed':
      return `the build failed: ${data.fault.message}`;
    case 'ServerRebootRequested':
      return `asked for a ${data.kind} reboot`;
    case 'ServerActionFailed':
      return `${data.action} failed: ${data.fault.message}`;
    case 'ServerPowerChanged':
      return data.cause === 'guest'
        ? `the guest is ${data.power}, by its own doing`
        : `the guest is ${data.power} since its host booted`;
    case 'ServerRenamed':
      return `renamed to "${data.name}"`;
    case 'ServerLocked':
      return `locked${data.reason ? `: ${data.reason}` : ''}`;
    case 'ServerStateReset':
      return `state set to ${data.state} by hand`;
    case 'ServerDeleted':
      return data.hostConfirmed
        ? 'is deleted, the host confirmed that nothing is left'
        : 'is deleted; its host has not confirmed it yet';
    default:
      return type
        .replace(/^Server/, '')
        .replace(/([A-Z])/g, ' $1')
        .trim()
        .toLowerCase();
  }
};

const reasons = (row: SchedulingRow, asAdmin: boolean): string[] => {
  const { explanation: e } = row;
  const lines = [`${e.hostsConsidered} hosts considered, ${e.hostsFitting} could take it; weigher ${e.weigher}`];
  for (const r of e.refusals)
    lines.push(`${r.hosts} refused by ${r.constraint}: wanted ${r.wanted}, best had ${r.bestHad}`);
  if (asAdmin)
    for (const host of e.sample.filter((s) => s.verdict !== 'refused'))
      lines.push(`${host.host}: ${host.verdict}${host.weight === null ? '' : `, weight ${host.weight}`}`);
  if (e.smallestChange) lines.push(`would have fitted: ${e.smallestChange}`);
  return lines;
};

/** The story of one server in the order of the log: its own events and the decisions about its place. */
export const storyOf = (
  events: readonly RecordedEvent[],
  decisions: readonly SchedulingRow[],
  asAdmin: boolean,
): StoryLine[] => {
  const own = events.map(
    (e): StoryLine => ({
      at: e.recordedAt,
      position: e.position,
      eventId: e.id,
      type: e.type,
      who: who(e.context.actor),
      requestId: e.context.requestId,
      what: tell(e as unknown as ServerEvent),
      reasons: [],
    }),
  );
  const decided = decisions.map(
    (d): StoryLine => ({
      at: d.decidedAt,
      position: d.position,
      eventId: d.eventId,
      type: d.outcome === 'claimed' ? 'AllocationClaimed' : 'PlacementRefused',
      who: 'scheduler',
      requestId: null,
      what:
        d.outcome === 'claimed'
          ? `claimed a place for attempt ${d.attempt}`
          : `found no place for attempt ${d.attempt}`,
      reasons: reasons(d, asAdmin),
    }),
  );
  return [...own, ...decided].sort((a, b) => a.position - b.position);
};
