import type { RecordedEvent } from '@omnivisor/contracts';
import type { Deed } from '../simulate/faults/evidence.js';
import {
  agentsActOnlyForTheirHost,
  everyClaimHasItsServer,
  everyScheduledServerHasItsClaim,
  noCapacityExceeded,
  noDoubleClaim,
  noGuestDestroyedWithoutTombstone,
} from '../simulate/faults/invariants.js';
import { noDuplicateAddress, quotaEqualsRecount } from '../simulate/faults/reservations.js';

/** A request that a client was told is accepted. */
export interface Accepted {
  readonly kind: 'create' | 'stop' | 'start' | 'reboot' | 'delete';
  readonly serverId: string;
  readonly requestId: string;
}

/** An event that a client was shown. */
export interface Seen {
  readonly id: string;
  readonly position: number;
}

/** A guest as its host has it, or a server as the API shows it. */
export interface Found {
  readonly serverId: string;
  readonly power: 'running' | 'shutdown' | 'other';
}

type Log = readonly RecordedEvent[];

const REQUESTS = {
  create: 'ServerCreateRequested',
  stop: 'ServerStopRequested',
  start: 'ServerStartRequested',
  reboot: 'ServerRebootRequested',
  delete: 'ServerDeleteRequested',
} as const satisfies Record<Accepted['kind'], RecordedEvent['type']>;

export const streamsOf = (log: Log): Map<string, RecordedEvent[]> => {
  const streams = new Map<string, RecordedEvent[]>();
  for (const event of log) {
    const stream = streams.get(event.stream);
    if (stream) stream.push(event);
    else streams.set(event.stream, [event]);
  }
  return streams;
};

/**
 * What was acknowledged, or shown to somebody, and is not in the log. Who asks to delete what is being deleted already is
 * told yes, and that is no event.
 */
export const lost = (log: Log, accepted: readonly Accepted[], seen: readonly Seen[]): string[] => {
  const streams = streamsOf(log);
  const byPosition = new Map(log.map((e) => [Number(e.position), e.id as string]));
  return [
    ...accepted
      .filter(
        ({ kind, serverId, requestId }) =>
          !streams
            .get(`server-${serverId}`)
            ?.some((e) => e.type === REQUESTS[kind] && (kind === 'delete' || e.context.requestId === requestId)),
      )
      .map(
        ({ kind, serverId, requestId }) => `${kind} of ${serverId} (${requestId}) was accepted and is not in the log`,
      ),
    ...seen
      .filter(({ id, position }) => byPosition.get(position) !== id)
      .map(({ id, position }) => `event ${id} was shown at ${position}, where the log has ${byPosition.get(position)}`),
  ];
};

const SPAWNS = new Set<string>(['ServerSpawned', 'ServerSpawnFailed']);
const ENDS = new Set<string>(['ServerStarted', 'ServerStopped', 'ServerRebooted']);

/** What was done a second time: a request entered, an attempt spawned, an operation ended, a command appended. */
export const twice = (log: Log, made: readonly Pick<Deed, 'serverId' | 'attempt' | 'host'>[]): string[] => {
  const seen = new Map<string, number>();
  const repeated: string[] = [];
  const once = (what: string, position = 0) => {
    if (seen.has(what)) repeated.push(`${what}: at ${seen.get(what)} and ${position}`);
    seen.set(what, position);
  };
  for (const { serverId, attempt } of made) once(`the guest of ${serverId}/${attempt} was made twice`);
  let last: RecordedEvent | undefined;
  for (const event of log) {
    const { attempt, generation } = event.data as { attempt?: number; generation?: number };
    const position = Number(event.position);
    const { commandId } = event.context;
    if (SPAWNS.has(event.type)) once(`${event.stream}: attempt ${attempt} has ended`, position);
    if (ENDS.has(event.type)) once(`${event.stream}: operation ${generation} has ended`, position);
    if (Object.values(REQUESTS).includes(event.type as never))
      once(`${event.type} of ${event.context.requestId}`, position);
    // All events of one command are one append.
    if (last?.stream !== event.stream || last.context.commandId !== commandId)
      once(`${event.stream}: command ${commandId}`, position);
    last = event;
  }
  return repeated;
};

/** Gaps in the log, and lines that an older export had otherwise. */
export const broken = (log: Log, before: Log): string[] => {
  const revisions = new Map<string, number>();
  const wrong: string[] = [];
  for (const [i, event] of log.entries()) {
    if (Number(event.position) !== i + 1) wrong.push(`${event.id} is at ${event.position}, the ${i + 1}th`);
    const revision = (revisions.get(event.stream) ?? -1) + 1;
    revisions.set(event.stream, revision);
    if (event.revision !== revision) wrong.push(`${event.stream}: ${event.revision} after ${revision - 1}`);
  }
  for (const [i, event] of before.entries())
    if (log[i]?.id !== event.id) wrong.push(`${event.id} was at ${event.position}, where the log has ${log[i]?.id}`);
  return wrong;
};

/** What the log asks of a server: `any` once an action has failed, and the log has said so. */
export const wanted = (stream: Log): Found['power'] | 'gone' | 'error' | 'any' => {
  let power: ReturnType<typeof wanted> = 'running';
  for (const { type } of stream)
    if (type === 'ServerDeleteRequested' || type === 'ServerCreateAbandoned') return 'gone';
    else if (type === 'ServerBuildFailed') power = 'error';
    else if (type === 'ServerActionFailed') power = 'any';
    else if (type === 'ServerStopRequested') power = 'shutdown';
    else if (type === 'ServerStartRequested' || type === 'ServerRebootRequested') power = 'running';
  return power;
};

/** Requests that were accepted, and failed later: the log says of each why. */
export const failures = (log: Log): RecordedEvent[] =>
  log.filter(({ type }) => type === 'ServerActionFailed' || type === 'ServerBuildFailed');

/** Where servers, guests and claims are not what the log asks for, once all is at rest. */
export const unequal = (log: Log, servers: readonly Found[], guests: readonly Found[]): string[] => {
  const shown = new Map(servers.map((s) => [s.serverId, s.power]));
  const found = new Map(guests.map((g) => [g.serverId, g.power]));
  const wrong: string[] = [];
  for (const [name, stream] of streamsOf(log)) {
    if (!name.startsWith('server-')) continue;
    const id = name.slice('server-'.length);
    const want = wanted(stream);
    const [server, guest] = [shown.get(id), found.get(id)];
    const right =
      want === 'gone'
        ? server === undefined && guest === undefined
        : want === 'any'
          ? server !== undefined && server === guest
          : want === 'error'
            ? server === 'other' && guest === undefined
            : server === want && guest === want;
    if (!right) wrong.push(`${id}: wanted ${want}, shown as ${server ?? 'gone'}, on its host ${guest ?? 'gone'}`);
    shown.delete(id);
    found.delete(id);
  }
  for (const id of new Set([...shown.keys(), ...found.keys()])) wrong.push(`${id} is there, and not in the log`);
  return wrong;
};

const evidenceOf = (log: Log, deeds: readonly Deed[]) => ({
  log,
  deeds,
  moves: [],
  absences: [],
  accepted: [],
  doubles: [],
  liedAbout: new Set<string>(),
  goingRound: [],
  hosts: [],
  servers: [],
  replay: { equal: true, differences: [] },
});

/** What the simulation's invariants say of the log of a real cloud. */
export const violated = (log: Log, removed: readonly Deed[]): string[] =>
  [
    noCapacityExceeded,
    everyScheduledServerHasItsClaim,
    agentsActOnlyForTheirHost,
    noDuplicateAddress,
    noGuestDestroyedWithoutTombstone,
    noDoubleClaim,
    everyClaimHasItsServer,
  ].flatMap((holds) => holds(evidenceOf(log, removed)));

/** What is reserved for a request that was refused half way is given back a minute later. */
export const unsettled = (log: Log): readonly string[] => quotaEqualsRecount(evidenceOf(log, []));
