import type { Position } from '@omnivisor/contracts';
import type { EventIndex, IndexEntry, IndexQuery } from './event-index.js';

/** The index in memory, for specs and simulation. */
export class MemoryEventIndex implements EventIndex {
  private readonly entries: IndexEntry[] = [];
  private position: Position = 0;
  private turn: Promise<unknown> = Promise.resolve();

  async prepare(): Promise<void> {}

  async checkpoint(): Promise<Position> {
    return this.position;
  }

  advance(work: (from: Position) => Promise<{ to: Position; entries: readonly IndexEntry[] }>): Promise<Position> {
    const run = this.turn.then(async () => {
      const { to, entries } = await work(this.position);
      this.entries.push(...entries);
      this.position = to;
      return to;
    });
    this.turn = run.catch(() => {});
    return run;
  }

  async find({ project, actor, types, resource, after, until, order, limit }: IndexQuery): Promise<Position[]> {
    const found = this.entries.filter(
      (e) =>
        e.position > after &&
        e.position <= until &&
        (project === undefined || e.project === project) &&
        (actor === undefined || e.actor === actor) &&
        (types === undefined || types.includes(e.type)) &&
        (resource === undefined || e.resources.includes(resource)),
    );
    const positions = found.map((e) => e.position);
    return (order === 'oldest first' ? positions : positions.reverse()).slice(0, limit);
  }

  async close(): Promise<void> {}
}
