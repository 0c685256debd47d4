import type { RecordedEvent, ServerEvent } from '@omnivisor/contracts';
import { nextStep } from '../../../apps/api-gateway/src/compute/server/lifecycle/server-next-step.js';
import type { Evidence } from './evidence.js';

/** What must hold; each returns what does not, in words. Pure. */
export type Invariant = (evidence: Evidence) => readonly string[];

type Data = Readonly<Record<string, never>>;
const dataOf = (event: RecordedEvent) => event.data as Data;
const claimOf = ({ serverId, attempt }: { serverId: string; attempt: number }) => `${serverId}/${attempt}`;
const has = (stream: readonly RecordedEvent[], type: RecordedEvent['type'], attempt?: number) =>
  stream.some((e) => e.type === type && (attempt === undefined || dataOf(e).attempt === attempt));

/** What a host has of a server, as the server's stream says it. */
interface Place {
  readonly host: string;
  readonly providerId: string;
  readonly attempt: number;
  /** `home`: its guest; the others are of a server that moves. */
  readonly part: 'home' | 'kept' | 'incoming' | 'tombstone';
  readonly claims: readonly number[];
}

interface Told extends Omit<Place, 'part' | 'claims'> {
  readonly released: number;
}

/** Where a server's stream says it is. */
const placesOf = (stream: readonly RecordedEvent[]): readonly Place[] => {
  let home: Place | null = null;
  let source: Place | null = null;
  let target: Place | null = null;
  let others: Place[] = [];
  let isLive = false;
  const without = (place: Place | null) => others.filter((other) => other.host !== place?.host);
  const claims = (change: (claims: readonly number[]) => number[]) => {
    home &&= { ...home, claims: change(home.claims) };
  };
  const goBack = () => {
    const left: Place[] = home && home.attempt === target?.attempt ? [{ ...home, part: 'tombstone' }] : [];
    others = [...without(source), ...left];
    home = source;
  };
  for (const event of stream) {
    const { host, providerId, attempt, released } = event.data as unknown as Told;
    switch (event.type as ServerEvent['type']) {
      case 'ServerScheduled':
        home = { host, providerId, attempt, part: 'home', claims: [attempt] };
        break;
      case 'ServerResizeScheduled':
        claims((all) => [...all, attempt]);
        break;
      case 'ServerResizeConfirmed':
      case 'ServerResizeReverted':
        claims((all) => all.filter((claim) => claim !== released));
        break;
      case 'ServerAttemptAbandoned':
        claims((all) => all.filter((claim) => claim !== attempt || all.length === 1));
        break;
      case 'ServerMigrateRequested':
      case 'ServerResizeRequested':
      case 'ServerLiveMigrateRequested':
        isLive = event.type === 'ServerLiveMigrateRequested';
        target = null;
        break;
      case 'ServerMigrationScheduled':
        source = home;
        target = { host, providerId, attempt, part: 'home', claims: [attempt] };
        if (isLive) others = [...others, { ...target, part: 'incoming' }];
        break;
      case 'ServerMigrationLanded':
        others = [...without(target), { ...home!, part: 'kept' }];
        home = target;
        break;
      case 'ServerMigrationFailed':
        goBack();
        break;
      case 'ServerResizeRevertRequested':
        if (target) goBack();
        break;
      case 'ServerActionFailed':
        if (!dataOf(event).unheard)
          others = others.map((o) => (o.part === 'incoming' ? { ...o, part: 'tombstone' } : o));
        break;
      case 'ServerMigrated':
        if (isLive) others = others.map((other) => ({ ...other, part: 'tombstone' }));
        break;
      case 'ServerMigrationConfirmed':
      case 'ServerDeleteRequested':
        others = others.map((other) => ({ ...other, part: 'tombstone' }));
        break;
      case 'ServerGuestAbsent':
        if (others.some((o) => o.host === host && o.attempt === attempt))
          others = others.filter((o) => o.attempt !== attempt);
        else if (home?.attempt === attempt) home = null;
        break;
    }
  }
  return home ? [home, ...others] : others;
};

const byStream = (log: readonly RecordedEvent[], kind: string): Map<string, RecordedEvent[]> => {
  const streams = new Map<string, RecordedEvent[]>();
  for (const event of log) {
    if (!event.stream.startsWith(`${kind}-`)) continue;
    const key = event.stream.slice(kind.length + 1);
    const stream = streams.get(key);
    if (stream) stream.push(event);
    else streams.set(key, [event]);
  }
  return streams;
};

/** Live claims as the log has them: `server/attempt` by provider. */
const claimsIn = (log: readonly RecordedEvent[]): Map<string, Set<string>> => {
  const claims = new Map<string, Set<string>>();
  for (const event of log) {
    const { providerId } = dataOf(event) as unknown as { providerId: string };
    if (event.type === 'AllocationClaimed')
      claims.set(providerId, (claims.get(providerId) ?? new Set()).add(claimOf(event.data as never)));
    else if (event.type === 'AllocationReleased') claims.get(providerId)?.delete(claimOf(event.data as never));
  }
  return claims;
};

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

/** From `ServerScheduled` on until its host confirms that nothing is left, a server has its claim. */
export const everyScheduledServerHasItsClaim: Invariant = ({ log }) => {
  const missing: string[] = [];
  const claims = new Set<string>();
  const placed = new Map<string, string>();
  for (const event of log) {
    const data = dataOf(event) as never as { providerId: string; serverId: string; attempt: number };
    const key = `${data.providerId} ${claimOf(data)}`;
    if (event.type === 'AllocationClaimed') claims.add(key);
    else if (event.type === 'ServerScheduled' || event.type === 'ServerMigrationScheduled') {
      if (event.type === 'ServerScheduled') placed.set(data.serverId, key);
      if (!claims.has(key)) missing.push(`${key} was scheduled without a claim`);
    } else if (event.type === 'ServerResizeConfirmed') {
      const { released } = event.data as unknown as Told;
      if (placed.get(data.serverId)?.endsWith(claimOf({ ...data, attempt: released }))) placed.delete(data.serverId);
    } else if (event.type === 'ServerGuestAbsent') {
      if (placed.get(data.serverId)?.endsWith(claimOf(data))) placed.delete(data.serverId);
    } else if (event.type === 'AllocationReleased') {
      claims.delete(key);
      if (placed.get(data.serverId) === key) missing.push(`${key} was released while its server was there`);
    }
  }
  return missing;
};

/** What is released because its host has nothing left of it is not there. */
export const noClaimReleasedUnderAGuest: Invariant = ({ absences, liedAbout }) =>
  absences
    .filter((a) => a.guestWasThere && !liedAbout.has(a.serverId))
    .map((a) => `attempt ${claimOf(a)} was taken for absent while its guest was on ${a.host}`);

export const noGuestDestroyedWithoutTombstone: Invariant = ({ deeds }) =>
  deeds
    .filter((d) => d.kind === 'removed' && !d.discarded && !has(d.stream, 'ServerDeleteRequested'))
    .filter(
      (d) => !placesOf(d.stream).some((p) => p.attempt === d.attempt && p.host === d.host && p.part === 'tombstone'),
    )
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

/** How long a step that was allowed may take to begin: an answer's way, and the time that it counts. */
const GRACE_OF_A_SESSION = 10_000;

/** What is kept is not touched; what is on its way here is received. */
const mayDo = (part: Place['part'], method: string): boolean =>
  part === 'home' ||
  (part === 'tombstone' && method === 'destroy') ||
  (part === 'incoming' && method === 'liveMigration.receive');

/** An agent touches only what the log places on its host, while it has the host, and tells only of that. */
export const agentsActOnlyForTheirHost: Invariant = ({ moves, log }) => [
  ...moves
    .filter((m) => !m.discarded && !placesOf(m.stream).some((p) => p.host === m.host && mayDo(p.part, m.method)))
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

/** An older log has a tombstone for less than is there: an operator is asked, and what is there keeps its room. */
const asksAnOperator = (
  hosts: Evidence['hosts'],
  id: string,
  { host, attempt }: { readonly host: string; readonly attempt: number },
): boolean =>
  hosts.some(
    (h) => h.id === host && h.quarantined.has(id) && h.guests.some((g) => g.serverId === id && g.attempt > attempt),
  );

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
    if (row.taskState !== null) return [`${id} is still ${row.taskState}`];
    const next = nextStep(row);
    if (next) return [`${id} waits for ${next.step}`];
    if (row.vmState === 'deleted') return [];
    if (row.held) return [`${id} is still held`];
    if (row.vmState === 'active' && guests[0]?.power !== 'running') return [`${id} is active and does not run`];
    return row.vmState === 'error' && !row.fault ? [`${id} is in error and says nothing of it`] : [];
  });
};

/** Guests that nobody asks for are known to operators. */
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
      .map(({ serverId }) => `nobody asks for ${serverId} on ${host.id}, and nobody is told`),
  );
};

/** What is taken of a quota is what the servers that are there take, and never more than its limit. */
export const quotaEqualsRecount: Invariant = ({ log }) => {
  const wrong: string[] = [];
  const owners = new Map<string, Record<string, number>>();
  const limits: Record<string, number> = {};
  const servers = new Map<string, boolean>();
  for (const event of log) {
    const data = dataOf(event) as never as {
      owner: string;
      serverId: string;
      amounts: Record<string, number>;
      limits: Record<string, number>;
    };
    if (event.type === 'QuotaLimitsSet') Object.assign(limits, data.limits);
    else if (event.type === 'QuotaReleased') owners.delete(data.owner);
    else if (event.type === 'ServerCreateRequested') servers.set(data.serverId, true);
    else if (event.type === 'ServerResourcesReleased') servers.delete(data.serverId);
    else if (event.type === 'QuotaReserved') {
      owners.set(data.owner, data.amounts);
      for (const [name, limit] of Object.entries(limits)) {
        const used = [...owners.values()].reduce((sum, a) => sum + (a[name] ?? 0), 0);
        if (used > limit) wrong.push(`${used} of ${limit} ${name} were taken at ${event.position}`);
      }
    }
  }
  for (const owner of owners.keys())
    if (!servers.has(owner.replace('server:', ''))) wrong.push(`${owner} holds quota and is not there`);
  for (const id of servers.keys()) if (!owners.has(`server:${id}`)) wrong.push(`${id} holds no quota`);
  return wrong;
};

/** No address of a network is held by two ports at a time. */
export const noDuplicateAddress: Invariant = ({ log }) => {
  const twice: string[] = [];
  const held = new Map<string, string>();
  const release = (port: string) => {
    for (const [address, by] of held) if (by === port) held.delete(address);
  };
  for (const event of log) {
    const data = dataOf(event) as never as {
      networkId: string;
      portId: string;
      fixedIps: { subnetId: string; address: string }[];
    };
    if (event.type === 'AddressesReleased') release(data.portId);
    if (event.type !== 'AddressesAllocated') continue;
    release(data.portId);
    for (const { subnetId, address } of data.fixedIps) {
      const key = `${subnetId} ${address}`;
      if (held.has(key)) twice.push(`${address} has ${held.get(key)} and ${data.portId}`);
      held.set(key, data.portId);
    }
  }
  return twice;
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
