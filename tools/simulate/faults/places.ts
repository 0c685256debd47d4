import type { RecordedEvent, ServerEvent } from '@omnivisor/contracts';

type Data = Readonly<Record<string, never>>;
export const dataOf = (event: RecordedEvent) => event.data as Data;
export const claimOf = ({ serverId, attempt }: { serverId: string; attempt: number }) => `${serverId}/${attempt}`;
export const has = (stream: readonly RecordedEvent[], type: RecordedEvent['type'], attempt?: number) =>
  stream.some((e) => e.type === type && (attempt === undefined || dataOf(e).attempt === attempt));

/** What a host has of a server, as the server's stream says it. */
export interface Place {
  readonly host: string;
  readonly providerId: string;
  readonly attempt: number;
  /** `home`: its guest; the others are of a server that moves. */
  readonly part: 'home' | 'kept' | 'incoming' | 'tombstone';
  readonly claims: readonly number[];
}

export interface Told extends Omit<Place, 'part' | 'claims'> {
  readonly released: number;
}

/** Where a server's stream says it is. */
export const placesOf = (stream: readonly RecordedEvent[]): readonly Place[] => {
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

export const byStream = (log: readonly RecordedEvent[], kind: string): Map<string, RecordedEvent[]> => {
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
export const claimsIn = (log: readonly RecordedEvent[]): Map<string, Set<string>> => {
  const claims = new Map<string, Set<string>>();
  for (const event of log) {
    const { providerId } = dataOf(event) as unknown as { providerId: string };
    if (event.type === 'AllocationClaimed')
      claims.set(providerId, (claims.get(providerId) ?? new Set()).add(claimOf(event.data as never)));
    else if (event.type === 'AllocationReleased') claims.get(providerId)?.delete(claimOf(event.data as never));
  }
  return claims;
};
