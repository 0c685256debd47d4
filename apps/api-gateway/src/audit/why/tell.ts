import {
  type Actor,
  type DomainEvent,
  type PlacementExplanation,
  type ServerEvent,
  serverEvents,
} from '@omnivisor/contracts';

/** Who caused an event, for people. */
export const who = (actor: Actor): string =>
  actor.kind === 'service' ? actor.service : `user ${actor.userId}${actor.address ? ` from ${actor.address}` : ''}`;

const words = (type: string): string => type.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase();

/** What an event says of its server, in words. */
const tellServer = (event: ServerEvent, showHosts: boolean): string => {
  const { type, data } = event;
  switch (type) {
    case 'ServerCreateRequested':
      return `asked for server "${data.name}" (flavor ${data.flavor.name}: ${data.flavor.vcpus} vCPU, ${data.flavor.memory} MiB, ${data.flavor.disk} GiB; image ${data.image.name ?? data.image.id})`;
    case 'ServerAdoptionRequested': {
      const { name, vcpus, memory, disks } = data.adoption;
      return `asked to make the guest "${name}" (${vcpus} vCPU, ${memory} MiB, ${disks.length} disks) server "${data.name}"`;
    }
    case 'ServerReleaseRequested':
      return 'asked to give the guest back as it is';
    case 'ServerPortsAllocated': {
      const addresses = data.ports.flatMap((p) => p.fixedIps.map((ip) => `${ip.address} on ${p.networkName}`));
      return addresses.length > 0 ? `got its addresses: ${addresses.join(', ')}` : 'has no network';
    }
    case 'ServerScheduled':
      return `attempt ${data.attempt} goes to ${showHosts ? `host ${data.hostName}` : 'a host'}`;
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
      return words(type.replace(/^Server/, ''));
  }
};

/** Why a placement was decided so. */
export const placementReasons = (e: PlacementExplanation, showHosts: boolean): string[] => {
  const lines = [`${e.hostsConsidered} hosts considered, ${e.hostsFitting} could take it; weigher ${e.weigher}`];
  for (const r of e.refusals)
    lines.push(`${r.hosts} refused by ${r.constraint}: wanted ${r.wanted}, best had ${r.bestHad}`);
  if (showHosts)
    for (const host of e.sample.filter((s) => s.verdict !== 'refused'))
      lines.push(`${host.host}: ${host.verdict}${host.weight === null ? '' : `, weight ${host.weight}`}`);
  if (e.smallestChange) lines.push(`would have fitted: ${e.smallestChange}`);
  return lines;
};

const serverTypes = new Set(Object.keys(serverEvents.events));

/** What an event says, in words. */
export const tell = (event: DomainEvent, showHosts: boolean): string => {
  if (serverTypes.has(event.type)) return tellServer(event as unknown as ServerEvent, showHosts);
  const { attempt, operation, rule, status } = event.data as Record<string, unknown>;
  switch (event.type) {
    case 'AllocationClaimed':
      return `claimed a place for attempt ${attempt}`;
    case 'PlacementRefused':
      return `found no place for attempt ${attempt}`;
    case 'AllocationReleased':
      return `released the place of attempt ${attempt}`;
    case 'RequestRefused':
      return `was refused ${operation} with ${status}${rule === null ? '' : `, by rule ${rule}`}`;
    default:
      return words(event.type);
  }
};
