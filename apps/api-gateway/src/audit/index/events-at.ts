import type { Position, RecordedEvent } from '@omnivisor/contracts';
import type { EventStore } from '@omnivisor/eventsourcing';

/** Runs of positions that lie close to each other are read at once. */
const CLOSE = 8;

/** The events at some positions, in the order of these. */
export const eventsAt = async (
  store: Pick<EventStore, 'readAll'>,
  positions: readonly Position[],
): Promise<RecordedEvent[]> => {
  const runs: { from: Position; to: Position }[] = [];
  for (const position of [...positions].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run && position - run.to <= CLOSE) run.to = position;
    else runs.push({ from: position, to: position });
  }
  const read = await Promise.all(runs.map(({ from, to }) => store.readAll(from - 1, to - from + 1)));
  const found = new Map(read.flat().map((event) => [event.position, event]));
  return positions.flatMap((position) => found.get(position) ?? []);
};
