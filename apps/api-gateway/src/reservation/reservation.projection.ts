import { after, type Instant, seconds } from '@omnivisor/contracts';
import { type DueWork, dueTable, type Projection, type Table } from '@omnivisor/eventsourcing';
import { type Reading, type Readings, type ReservationRow, reservationTable } from './reservation.js';

export const RESERVATION_PROCESS = 'reservation';

/** A request takes what it needs first and makes its owner then; one that takes longer has died between. */
const PATIENCE = seconds(60);
/** Who removes an owner gives back what it held; this is for those that died between. */
const GRACE = seconds(5);

const keyOf = ({ kind, id }: Reading): string => `${kind}:${id}`;

const read = (row: ReservationRow | undefined, reading: Reading, at: Instant): ReservationRow | undefined => {
  if ('takes' in reading) {
    const { kind, id, takes, of, projectId, parent } = reading;
    const before = row ?? { kind, id, projectId: '', parent: null, holds: {}, owner: 'expected' as const, since: at };
    return {
      ...before,
      projectId: projectId ?? before.projectId,
      parent: parent ?? before.parent,
      holds: { ...before.holds, [takes]: of },
      since: before.owner === 'there' ? before.since : at,
    };
  }
  if (!row) return undefined;
  if ('owner' in reading) return { ...row, owner: reading.owner, since: at };
  const { [reading.gives]: _, ...holds } = row.holds;
  return Object.keys(holds).length === 0 ? undefined : { ...row, holds };
};

/** What is held, and by whom; nothing of what holds nothing. */
export const reservationProjection = (readings: Readings): Projection<ReservationRow> => ({
  table: reservationTable,
  keys: (event) => [...new Set(readings(event).map(keyOf))],
  evolve: (row, event, key) =>
    readings(event)
      .filter((reading) => keyOf(reading) === key)
      .reduce((r, reading) => read(r, reading, event.recordedAt), row),
  derive: (key, row) => {
    const dueAt = !row || row.owner === 'there' ? null : after(row.since, row.owner === 'gone' ? GRACE : PATIENCE);
    const work: DueWork | undefined = dueAt ? { process: RESERVATION_PROCESS, id: key, dueAt } : undefined;
    return [{ table: dueTable as Table<never>, key: `${RESERVATION_PROCESS}/${key}`, row: work }];
  },
});
