import type { HostId, RecordedEvent } from '@omnivisor/contracts';
import type { Deed } from '../simulate/faults/evidence.js';
import { placesOf } from '../simulate/faults/places.js';
import type { Change } from './guests.js';
import { streamsOf } from './judge.js';

type Log = readonly RecordedEvent[];

/** A server's stream as long as it had an attempt on a host: its removal was asked for by then, or was not. */
const whileThere = (stream: Log, host: HostId, attempt: number): Log => {
  for (let end = stream.length; end > 0; end--) {
    const known = stream.slice(0, end);
    if (placesOf(known).some((place) => place.host === host && place.attempt === attempt)) return known;
  }
  return [];
};

/** What hosts made and removed, beside what the log had of it: files tell what happened, and the log alone tells when. */
export const deedsOf = (log: Log, changes: readonly Change[]): Deed[] => {
  const hosts = new Map(
    log.flatMap(({ type, data }) => {
      const { hostId, name } = data as { hostId: HostId; name: string };
      return type === 'HostEnrolled' ? [[name, hostId] as const] : [];
    }),
  );
  const streams = streamsOf(log);
  return changes.map((change) => {
    const host = hosts.get(change.host);
    if (!host) throw new Error(`the log does not know the host ${change.host}`);
    const all = streams.get(`server-${change.serverId}`) ?? [];
    const stream = change.kind === 'removed' ? whileThere(all, host, change.attempt) : all;
    return {
      ...change,
      host,
      at: stream.at(-1)?.recordedAt ?? log.at(-1)!.recordedAt,
      epoch: 0,
      stream,
      discarded: false,
    };
  });
};
