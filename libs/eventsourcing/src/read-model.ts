import { after, type Instant, ms, type Position } from '@omnivisor/contracts';

/**
 * A table of the read model: documents by key. The name carries a version; a row of another shape is another table,
 * built beside the old one from the log.
 */
export interface Table<Row extends object> {
  /** e.g. `servers_v1`: lower case, digits and underscores. */
  readonly name: string;
  /** Fields that queries filter or sort by, one index each (several fields: one index over them in order). */
  readonly indexes: readonly (readonly (keyof Row & string)[])[];
}

export const table = <Row extends object>(name: string, ...indexes: (keyof Row & string)[][]): Table<Row> => ({
  name,
  indexes,
});

export type Scalar = string | number | boolean | null;
/** A value, or one comparison. Text compares by code point. A missing field counts as null. */
export type Condition =
  | Scalar
  | { readonly in: readonly Scalar[] }
  | { readonly ne: Scalar }
  | { readonly gt?: Scalar; readonly gte?: Scalar; readonly lt?: Scalar; readonly lte?: Scalar }
  /** The field is an array that has this member. */
  | { readonly contains: Scalar }
  /** The field is a text that has this text in it. */
  | { readonly includes: string };

export interface Query<Row extends object> {
  readonly where?: { readonly [F in keyof Row & string]?: Condition };
  /** Ties are broken by key, ascending. Null sorts before everything else. */
  readonly orderBy?: readonly (readonly [keyof Row & string, 'asc' | 'desc'])[];
  readonly limit?: number;
  /** Key of the row after which the answer starts, in the order asked for (OpenStack's `marker`). */
  readonly after?: string;
}

export interface RowReader {
  get<Row extends object>(table: Table<Row>, key: string): Promise<Row | undefined>;
  /** Rows by key; missing keys are missing from the answer. */
  getMany<Row extends object>(table: Table<Row>, keys: readonly string[]): Promise<Map<string, Row>>;
  /** @throws DomainError `invalid` when `after` names no row */
  find<Row extends object>(table: Table<Row>, query?: Query<Row>): Promise<Row[]>;
  /**
   * As `find`, but a row is made when it is come to, each time anew: a long answer need not be held as a whole.
   * @throws DomainError as `find`
   */
  scan<Row extends object>(table: Table<Row>, query?: Query<Row>): Promise<Iterable<Row>>;
  count<Row extends object>(table: Table<Row>, where?: Query<Row>['where']): Promise<number>;
}

export interface RowChange {
  readonly table: Table<never>;
  readonly key: string;
  /** Undefined removes the row. */
  readonly row: object | undefined;
}

export interface DueWork {
  readonly process: string;
  readonly id: string;
  readonly dueAt: Instant;
}

/** Work that falls due, projected from events like any other row. Key: `<process>/<id>`. */
export const dueTable = table<DueWork>('process_due_v1', ['process', 'dueAt']);

/** No lease taken by a clock like ours ends later: the replica that took it had a clock far ahead of this one. */
export const latestLease = (now: Instant, until: Instant): Instant =>
  after(now, ms(2 * (Date.parse(until) - Date.parse(now))));

/**
 * The read model of one app: its tables, all at one position of the log. Rows by key are at least as new as the newest
 * checkpoint that this replica was told of.
 */
export interface ReadModel extends RowReader {
  checkpoint(): Promise<Position>;
  /**
   * Runs `work` from the checkpoint, then stores its rows and the new checkpoint together or not at all. Any replica may
   * do so; when another one was faster, `work` is run again from where that one came to.
   * @returns the checkpoint afterwards
   */
  advance(
    work: (from: Position, rows: RowReader) => Promise<{ to: Position; changes: readonly RowChange[] }>,
  ): Promise<Position>;
  /**
   * Takes due work of a process for one replica until `until`. Work that is leased by another is passed over.
   * Leases are no part of the projection. One that ends after `latestLease` counts for nothing.
   */
  lease(process: string, now: Instant, until: Instant, limit: number): Promise<DueWork[]>;
  /** Gives leased work back; it can be leased again from `notBefore` on. */
  unlease(process: string, id: string, notBefore: Instant): Promise<void>;
  /** When the next work of a process falls due or its lease ends; null when there is none. */
  nextDue(process: string): Promise<Instant | null>;
  /** Makes the tables that are missing. */
  prepare(tables: readonly Table<never>[]): Promise<void>;
  /** All rows of a table in order of key, for the comparison with a replay. */
  dump<Row extends object>(table: Table<Row>): AsyncIterable<{ key: string; row: Row }>;
  close(): Promise<void>;
}
