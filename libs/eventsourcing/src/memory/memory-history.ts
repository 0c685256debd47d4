import type { Position } from '@omnivisor/contracts';
import { canonicalText } from '../canonical.js';
import type { History, RowVersion } from '../history.js';
import type { Query, RowReader, Table } from '../read-model.js';
import { MemoryReadModel } from './memory-read-model.js';

/** The history in memory, for specs and simulation. */
export class MemoryHistory implements History {
  private readonly versions: RowVersion[] = [];
  private position: Position = 0;
  private turn: Promise<unknown> = Promise.resolve();
  private reading: Promise<unknown> = Promise.resolve();
  /** The moment asked for last: a later one goes on from there. */
  private past: { position: Position; versions: number; rows: MemoryReadModel } | undefined;

  async prepare(): Promise<void> {}

  async checkpoint(): Promise<Position> {
    return this.position;
  }

  advance(
    work: (from: Position, newest: RowReader) => Promise<{ to: Position; versions: readonly RowVersion[] }>,
  ): Promise<Position> {
    const run = this.turn.then(async () => {
      const { to, versions } = await work(this.position, this.at(this.position));
      this.versions.push(...versions.map((v) => ({ ...v, row: v.row && structuredClone(v.row) })));
      this.position = to;
      return to;
    });
    this.turn = run.catch(() => {});
    return run;
  }

  async rewrite(versions: readonly RowVersion[]): Promise<number> {
    const id = ({ table, key, position }: RowVersion) => JSON.stringify([table.name, key, position]);
    const wanted = new Map(versions.map((v) => [id(v), v.row]));
    let rewritten = 0;
    for (const [i, version] of this.versions.entries()) {
      const row = wanted.get(id(version));
      if (!row || !version.row || canonicalText(row) === canonicalText(version.row)) continue;
      this.versions[i] = { ...version, row: structuredClone(row) };
      rewritten++;
    }
    this.past = undefined;
    return rewritten;
  }

  at(position: Position): RowReader {
    const read = <T>(work: (rows: RowReader) => Promise<T>): Promise<T> => {
      // One at a time: readers of several moments share the rows of the moment asked for last.
      const run = this.reading.then(async () => work(await this.rowsAt(position)));
      this.reading = run.catch(() => {});
      return run;
    };
    return {
      get: <Row extends object>(table: Table<Row>, key: string) => read((rows) => rows.get(table, key)),
      getMany: <Row extends object>(table: Table<Row>, keys: readonly string[]) =>
        read((rows) => rows.getMany(table, keys)),
      find: <Row extends object>(table: Table<Row>, query?: Query<Row>) => read((rows) => rows.find(table, query)),
      scan: <Row extends object>(table: Table<Row>, query?: Query<Row>) => read((rows) => rows.scan(table, query)),
      count: <Row extends object>(table: Table<Row>, where?: Query<Row>['where']) =>
        read((rows) => rows.count(table, where)),
    };
  }

  async close(): Promise<void> {}

  private async rowsAt(position: Position): Promise<RowReader> {
    if (!this.past || this.past.position > position)
      this.past = { position: 0, versions: 0, rows: new MemoryReadModel() };
    const { versions, rows } = this.past;
    const later = this.versions.findIndex((v, i) => i >= versions && v.position > position);
    const end = later < 0 ? this.versions.length : later;
    this.past = { position, versions: end, rows };
    await rows.advance(async () => ({ to: position, changes: this.versions.slice(versions, end) }));
    return rows;
  }
}
