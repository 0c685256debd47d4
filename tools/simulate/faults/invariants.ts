import type { RecordedEvent } from '@omnivisor/contracts';
import { nextStep } from '../../../apps/api-gateway/src/compute/server/lifecycle/server-next-step.js';
import type { Deed, Evidence, Invariant, Move } from './evidence.js';
import { byStream, claimOf, claimsIn, dataOf, has, type Place, placesOf, type Told } from './places.js';
import { everyPortHasItsServer, noDuplicateAddress, quotaEqualsRecount } from './reservations.js';

/** A provider never holds one claim twice; at rest no attempt is claimed on two. */
export const noDoubleClaim: Invariant = ({ log }) => {
  const twice: string[] = [];
  const live = new Set<string>();
  for (const event of log) {
    if (event.type !== 'AllocationClaimed' && event.type !== 'AllocationReleased') continue;
    const key = `${dataOf(event).providerId} ${claimOf(event.data as never)}`;
    if (event.type === 'AllocationReleased') live.delete(key);
    else if (live.has(key)) twice.push(`${key} was claimed twice`);
    else live.add(key);
  }
  const seen = new Set<string>();
  for (const key of live) {
    const claim = key.split(' ')[1]!;
    if (seen.has(claim)) twice.push(`${claim} is claimed on two providers`);
    seen.add(claim);
  }
  return twice;
};

/** No claim goes in where there is no room. */
export const noCapacityExceeded: Invariant = ({ log }) => {
  const over: string[] = [];
  const inventories = new Map<string, Record<string, { total: number; reserved: number; allocationRatio: number }>>();
  const claims = new Map<string, Record<string, number>>();
  const used = new Map<string, Record<string, number>>();
  for (const event of log) {
    const data = dataOf(event) as never as {
      providerId: string;
      serverId: string;
      attempt: number;
      inventories: never;
      resources: Record<string, number>;
    };
    const { providerId } = data;
    if (event.type === 'ProviderInventorySet') inventories.set(providerId, data.inventories);
    if (event.type !== 'AllocationClaimed' && event.type !== 'AllocationReleased') continue;
    const key = `${providerId} ${claimOf(data)}`;
    const sum = used.get(providerId) ?? {};
    used.set(providerId, sum);
    const amounts = event.type === 'AllocationClaimed' ? data.resources : (claims.get(key) ?? {});
    claims.set(key, event.type === 'AllocationClaimed' ? amounts : {});
    for (const [name, amount] of Object.entries(amounts)) {
      sum[name] = (sum[name] ?? 0) + (event.type === 'AllocationClaimed' ? amount : -amount);
      const inventory = inventories.get(providerId)?.[name];
      const capacity = inventory ? Math.floor((inventory.total - inventory.reserved) * inventory.allocationRatio) : 0;
      if (event.type === 'AllocationClaimed' && sum[name] > capacity)
        over.push(`${providerId} has ${sum[name]} of ${capacity} ${name} claimed at ${event.position}`);
    }
  }
  return over;
};

/** At rest a claim belongs to a server that is there, or to a deleted one whose host has not confirmed it yet. */
export const everyClaimHasItsServer: Invariant = ({ log }) => {
  const servers = byStream(log, 'server');
  return [...claimsIn(log)].flatMap(([provider, claims]) =>
    [...claims].flatMap((claim) => {
      const [serverId, attempt] = claim.split('/');
      const places = placesOf(servers.get(serverId!) ?? []);
      return places.some((p) => p.providerId === provider && p.claims.includes(Number(attempt)))
        ? []
        : [`${claim} is claimed on ${provider}, and its server is not there`];
    }),
  );
};

/** Events after which a server is on other hosts, or has other claims, than before. */
const PLACING: ReadonlySet<string> = new Set([
  'ServerScheduled',
  'ServerResizeScheduled',
  'ServerMigrationScheduled',
  'ServerMigrationLanded',
  'ServerMigrationFailed',
  'ServerResizeRevertRequested',
]);

/** From the moment that it gets a place until its host confirms that nothing is left, a server has its claim there. */
export const everyScheduledServerHasItsClaim: Invariant = ({ log }) => {
  const missing: string[] = [];
  const claims = new Set<string>();
  const streams = new Map<string, RecordedEvent[]>();
  const unclaimed = (serverId: string) =>
    placesOf(streams.get(serverId) ?? [])
      .flatMap((p) => p.claims.map((attempt) => `${p.providerId} ${claimOf({ serverId, attempt })}`))
      .filter((key) => !claims.has(key));
  for (const event of log) {
    const data = dataOf(event) as never as { providerId: string; serverId: string; attempt: number };
    const key = `${data.providerId} ${claimOf(data)}`;
    if (event.type === 'AllocationClaimed') claims.add(key);
    else if (event.type === 'AllocationReleased') {
      claims.delete(key);
      if (unclaimed(data.serverId).includes(key)) missing.push(`${key} was released while its server was there`);
    } else if (event.stream.startsWith('server-')) {
      const stream = streams.get(data.serverId) ?? [];
      streams.set(data.serverId, stream);
      stream.push(event);
      if (event.type === 'ServerMigrationScheduled' && !claims.has(key))
        missing.push(`${key} was chosen without a claim`);
      if (PLACING.has(event.type))
        missing.push(...unclaimed(data.serverId).map((k) => `${k} has no claim at its ${event.type}`));
    }
  }
  return missing;
};

/** What is released because its host has nothing left of it is not there. */
export const noClaimReleasedUnderAGuest: Invariant = ({ absences, liedAbout }) =>
  absences
    .filter((a) => a.guestWasThere && !liedAbout.has(a.serverId))
    .map((a) => `attempt ${claimOf(a)} was taken for absent while its guest was on ${a.host}`);

/**
 * A deletion reaches no newer attempt than the log has there. What a hypervisor hid, when it was to be destroyed, may go with
 * what came later.
 */
const mayGo = ({ stream, serverId, host, attempt }: Deed, liedAbout: Evidence['liedAbout']): boolean =>
  placesOf(stream).some(
    (p) =>
      p.host === host &&
      (p.attempt === attempt || (p.attempt > attempt && liedAbout.has(serverId))) &&
      (p.part === 'tombstone' || has(stream, 'ServerDeleteRequested')),
  );

export const noGuestDestroyedWithoutTombstone: Invariant = ({ deeds, liedAbout }) =>
  deeds
    .filter((d) => d.kind === 'removed' && !d.discarded && !mayGo(d, liedAbout))
    .map((d) => `the guest of ${claimOf(d)} was destroyed at ${d.at}`);

/** A guest is made once for an attempt; again only where the log has never heard of the first one. */
export const noGuestSpawnedTwice: Invariant = ({ deeds, liedAbout }) => {
  const made = deeds.filter((d) => d.kind === 'made');
  const late = made
    .filter((d) => has(d.stream, 'ServerSpawned', d.attempt) || has(d.stream, 'ServerSpawnFailed', d.attempt))
    .map((d) => `${claimOf(d)} was made again at ${d.at}, after its host had told of it`);
  const hosts = new Map<string, string>();
  const elsewhere = made.flatMap((d) => {
    const key = `${d.epoch} ${claimOf(d)}`;
    const first = hosts.get(key);
    hosts.set(key, d.host);
    return first === undefined || first === d.host || liedAbout.has(d.serverId)
      ? []
      : [`${claimOf(d)} was made on two hosts`];
  });
  return [...late, ...elsewhere];
};

/** A build goes on with another host when its own has told that nothing is left, and with three at most. */
export const noBuildMovesOnUnheard: Invariant = ({ log }) =>
  [...byStream(log, 'server')].flatMap(([serverId, stream]) => {
    const places = stream.filter((e) => e.type === 'ServerScheduled').map((e) => e.data as never as Told);
    const isHeard = ({ host, attempt }: Told) =>
      stream.some(
        ({ type, data, context: { actor } }) =>
          type === 'ServerSpawnFailed' &&
          (data as never as Told).attempt === attempt &&
          actor.kind === 'service' &&
          actor.service === `host-${host}`,
      );
    return [
      ...places.slice(0, -1).flatMap((p) => (isHeard(p) ? [] : [`${serverId} left ${p.host}, which had told nothing`])),
      ...(places.length > 3 ? [`${serverId} was tried on ${places.length} hosts`] : []),
    ];
  });

/** How long a step that was allowed may take to begin, in milliseconds: an answer's way, and the time that it counts. */
const GRACE_OF_A_SESSION = 10_000;

/** What is kept is not touched; what is on its way here is received. */
const mayDo = (part: Place['part'], method: string): boolean =>
  part === 'home' ||
  (part === 'tombstone' && method === 'destroy') ||
  (part === 'incoming' && method === 'liveMigration.receive');

const isPlaced = ({ host, method }: Move, stream: readonly RecordedEvent[]): boolean =>
  placesOf(stream).some((p) => p.host === host && mayDo(p.part, method));

/** A migration may be over by the time that the shell for it is made: the target hears of that next, and destroys it. */
const wasExpected = (move: Move): boolean => {
  const allowed = Date.parse(move.at) - GRACE_OF_A_SESSION;
  const isRecent = (e: RecordedEvent) =>
    e.type === 'ServerActionFailed' && dataOf(e).action === 'live-migration' && Date.parse(e.recordedAt) >= allowed;
  return (
    move.method === 'liveMigration.receive' &&
    isPlaced(
      move,
      move.stream.filter((e) => !isRecent(e)),
    )
  );
};

/** An agent touches only what the log places on its host, while it has the host, and tells only of that. */
export const agentsActOnlyForTheirHost: Invariant = ({ moves, log }) => [
  ...moves
    .filter((m) => !m.discarded && !isPlaced(m, m.stream) && !wasExpected(m))
    .map((m) => `${m.agent} began ${m.method} of ${m.serverId}, which is not on its host`),
  ...moves
    .filter((m) => m.overFor > GRACE_OF_A_SESSION)
    .map((m) => `${m.agent} began ${m.method} of ${m.serverId} ${m.overFor} ms after its session was over`),
  ...log.flatMap((event) => {
    const { actor } = event.context;
    const host = actor.kind === 'service' && /^host-(.*)$/.exec(actor.service)?.[1];
    if (!host || !event.stream.startsWith('server-')) return [];
    const told = dataOf(event).host as string | undefined;
    return told === undefined || told === host ? [] : [`${host} told ${event.type} of a server on ${told}`];
  }),
];

/** What a newer log had there is in the way of what is to go, or to be made: an operator is asked, and it keeps its room. */
const asksAnOperator = (
  hosts: Evidence['hosts'],
  id: string,
  { host, attempt }: { readonly host: string; readonly attempt: number },
): boolean =>
  hosts.some(
    (h) => h.id === host && h.quarantined.has(id) && h.guests.some((g) => g.serverId === id && g.attempt >= attempt),
  );

/** Methods that change what a guest does, or is. */
const OPERATIONS = /^(powerOn|powerOff|reboot|(pausing|suspending|rebuilding|rescuing|resizing)\..+)$/;
const ASKED =
  /^Server(Start|Stop|Reboot|Pause|Unpause|Suspend|Resume|Rebuild|Rescue|Unrescue|Resize|ResizeConfirm|ResizeRevert|Migrate)Requested$|^ServerMigration(Failed|Returned)$/;
const ENDED =
  /^Server(Started|Stopped|Rebooted|Paused|Unpaused|Suspended|Resumed|Rebuilt|Rescued|Unrescued|Resized|ResizeConfirmed|ResizeReverted|MigrationSent|DeleteRequested)$/;

/** What a guest does by itself is not undone: its power, and what it is, change when somebody asked for that. */
export const noGuestChangedUnasked: Invariant = ({ moves }) =>
  moves
    .filter(({ method, stream, at }) => {
      if (!OPERATIONS.test(method)) return false;
      const last = stream.findLast((e) => ASKED.test(e.type) || isEnd(e));
      return !last || (isEnd(last) && Date.parse(at) - Date.parse(last.recordedAt) > GRACE_OF_A_SESSION);
    })
    .map((m) => `${m.agent} began ${m.method} of ${m.serverId}, which nobody had asked for`);

const isEnd = (event: RecordedEvent): boolean =>
  ENDED.test(event.type) || (event.type === 'ServerActionFailed' && !dataOf(event).unheard);

/** What was accepted is in the log, and has come to its end. */
export const everyAcceptedRequestIsAtRest: Invariant = ({ accepted, servers, hosts }) => {
  const rows = new Map(servers.map((s) => [s.id as string, s]));
  const deletes = new Set(accepted.filter((a) => a.kind === 'delete').map((a) => a.serverId as string));
  return [...new Set(accepted.map((a) => a.serverId as string))].flatMap((id) => {
    const row = rows.get(id);
    if (!row) return [`${id} was accepted and is not in the log`];
    const guests = hosts.flatMap((h) =>
      h.guests.filter((g) => g.serverId === id && h.id === row.onHost && g.attempt === row.placement?.attempt),
    );
    if (deletes.has(id) && row.vmState !== 'deleted') return [`${id} was to be deleted and is ${row.vmState}`];
    const isToLeave = (place: { readonly host: string; readonly attempt: number } | null) =>
      place !== null && !asksAnOperator(hosts, id, place);
    if (row.vmState === 'deleted' && !(row.released && !isToLeave(row.placement)))
      return [`${id} was deleted and has not left`];
    if (row.remains?.some(({ part, placement }) => part !== 'kept' && isToLeave(placement)))
      return [`${id} is still on another host`];
    // A host that told that a guest was gone, and lied, has it in the way of the next one: an operator is asked.
    const isHeldUp = hosts.some((h) => h.id === row.placement?.host && h.quarantined.has(id));
    if (row.taskState !== null) return isHeldUp ? [] : [`${id} is still ${row.taskState}`];
    const next = nextStep(row);
    if (next) return [`${id} waits for ${next.step}`];
    if (row.vmState === 'deleted') return [];
    if (row.held) return [`${id} is still held`];
    const power = guests[0]?.power;
    if (row.vmState === 'active' && power !== 'running') return [`${id} is active and does not run`];
    if (power === undefined && row.vmState !== 'error') return [`${id} is ${row.vmState} and has no guest`];
    if (power !== undefined && power !== row.power) return [`${id} is ${power} and told to be ${row.power}`];
    return row.vmState === 'error' && !row.fault ? [`${id} is in error and says nothing of it`] : [];
  });
};

/** Guests that nobody asks for are known to operators, and gone when these have given them up. */
export const everyStrayIsInQuarantine: Invariant = ({ hosts, servers }) => {
  const rows = new Map(servers.map((s) => [s.id as string, s]));
  return hosts.flatMap((host) =>
    host.guests
      .filter(({ serverId, attempt }) => {
        const row = rows.get(serverId);
        const isLeft = row?.remains?.some((r) => r.placement.host === host.id && r.placement.attempt === attempt);
        return !isLeft && (row?.onHost !== host.id || row.placement?.attempt !== attempt);
      })
      .filter(({ serverId }) => !host.quarantined.has(serverId))
      .map(({ serverId }) => `nobody asks for ${serverId} on ${host.id}, and no operator is asked`),
  );
};

export const readModelEqualsReplay: Invariant = ({ replay }) =>
  replay.differences.map((d) => `${d.table} ${d.key}: ${d.problem}`);

/** A server runs once. */
export const noServerRunsTwice: Invariant = ({ doubles, liedAbout }) =>
  doubles.filter((id) => !liedAbout.has(id)).map((id) => `${id} ran on two hosts at a time`);

/** A process lets time go on. */
export const noProcessGoesRound: Invariant = ({ goingRound }) => goingRound;

/** By their names. Those of the first kind hold at any moment, the others once faults have ended for a while. */
export const ALWAYS = {
  noCapacityExceeded,
  everyScheduledServerHasItsClaim,
  noClaimReleasedUnderAGuest,
  noGuestDestroyedWithoutTombstone,
  noGuestSpawnedTwice,
  noServerRunsTwice,
  noBuildMovesOnUnheard,
  noGuestChangedUnasked,
  agentsActOnlyForTheirHost,
  noDuplicateAddress,
  noProcessGoesRound,
} as const satisfies Record<string, Invariant>;
export const AT_REST = {
  noDoubleClaim,
  everyClaimHasItsServer,
  everyAcceptedRequestIsAtRest,
  everyStrayIsInQuarantine,
  quotaEqualsRecount,
  everyPortHasItsServer,
  readModelEqualsReplay,
} as const satisfies Record<string, Invariant>;

export type InvariantName = keyof typeof ALWAYS | keyof typeof AT_REST;
export interface Violation {
  readonly invariant: InvariantName;
  readonly what: string;
}

export const violationsOf = (invariants: Readonly<Record<string, Invariant>>, evidence: Evidence): Violation[] =>
  Object.entries(invariants).flatMap(([invariant, holds]) =>
    holds(evidence).map((what) => ({ invariant: invariant as InvariantName, what })),
  );
