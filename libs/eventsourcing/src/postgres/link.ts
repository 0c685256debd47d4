import type { Duplex } from 'node:stream';
import pg from 'pg';

/** One connection is used for everything of one kind; it comes back by itself when the database does. */
export interface LinkOptions {
  /** `postgres://user:password@host:port/database`; a `%2F…` host is the folder of a unix socket. */
  readonly url: string;
  readonly name: string;
  /** Sends queries without waiting for the answers of those before; for connections without transactions. */
  readonly pipeline?: boolean;
  /** Settings of the session. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Deadline of one query, in milliseconds. */
  readonly timeout?: number;
  /** Called when a connection that was there is gone. */
  readonly onLost?: () => void;
}

/** A statement with a name is planned once per connection. */
export interface Statement {
  readonly name?: string;
  readonly text: string;
  readonly values?: readonly unknown[];
}

const INT8 = 20;
const INT4 = 23;
const BOOL = 16;
const toNumber = (text: string) => Number(text);
const toBoolean = (text: string) => text === 't';
const toText = (text: string) => text;
/** Own parsers: the driver's are global, and read 64-bit integers as text. */
const types = {
  getTypeParser: (oid: number) => (oid === INT8 || oid === INT4 ? toNumber : oid === BOOL ? toBoolean : toText),
} as pg.CustomTypesConfig;

/** The database went away, or cannot take us: what was asked may or may not have happened. */
export class ConnectionLost extends Error {
  constructor(cause: unknown) {
    super('the database cannot be reached', { cause });
    this.name = 'ConnectionLost';
  }
}

/** Classes of SQLSTATE by which a database says that it cannot work now: connections, resources (disk full), shutdown, I/O. */
const CANNOT_NOW = /^(08|53|57P|58|25006)/;

/** True when the database itself refused the statement, so that it had no effect. */
export const isRefusal = (error: unknown): boolean => {
  const code = error instanceof pg.DatabaseError ? error.code : undefined;
  return code !== undefined && !CANNOT_NOW.test(code);
};

/** The driver does not show its socket. */
const streamOf = (client: pg.Client): Duplex =>
  (client as unknown as { readonly connection: { readonly stream: Duplex } }).connection.stream;

/** What is asked at the same moment leaves in one write: each write wakes the server. */
const gather = (stream: Duplex): void => {
  if (stream.writableCorked > 0) return;
  stream.cork();
  process.nextTick(() => stream.uncork());
};

/** A connection that is made when first needed, and again after it was lost. */
export class Link {
  private client: Promise<pg.Client> | undefined;
  private live: pg.Client | undefined;
  private closed = false;

  constructor(private readonly options: LinkOptions) {}

  /**
   * @returns rows as arrays; bigint as number, text and json as text
   * @throws ConnectionLost; pg.DatabaseError when the database refuses the statement
   */
  query<Row extends readonly unknown[]>(statement: Statement): Promise<Row[]> {
    return this.run(() => this.connection(), statement);
  }

  /**
   * As `query`, for a statement that may run twice: a connection that was lost while idle costs one more try.
   * @throws as `query`
   */
  async repeatable<Row extends readonly unknown[]>(statement: Statement): Promise<Row[]> {
    try {
      return await this.query<Row>(statement);
    } catch (error) {
      if (error instanceof ConnectionLost) return this.query<Row>(statement);
      throw error;
    }
  }

  /** The connection as it is now, for transactions: once it is lost, all further statements fail. */
  pin(): Pick<Link, 'query'> {
    const client = this.connection();
    return {
      query: (statement) =>
        this.run(async () => {
          const pinned = await client;
          if (this.live !== pinned) throw new Error('the connection of this transaction is gone');
          return pinned;
        }, statement),
    };
  }

  private async run<Row extends readonly unknown[]>(
    connection: () => Promise<pg.Client>,
    { name, text, values }: Statement,
  ): Promise<Row[]> {
    let client: pg.Client | undefined;
    try {
      client = await connection();
      gather(streamOf(client));
      const config: pg.QueryArrayConfig = { text, rowMode: 'array' };
      if (name !== undefined) config.name = name;
      const result: unknown = await client.query(config, values as unknown[]);
      // Several statements in one text give several results: the last one with rows is meant.
      const answers = (Array.isArray(result) ? result : [result]) as pg.QueryArrayResult[];
      return (answers.findLast((answer) => answer.fields.length > 0)?.rows ?? []) as unknown as Row[];
    } catch (error) {
      if (isRefusal(error)) throw error;
      if (client) this.drop(client);
      throw new ConnectionLost(error);
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    const client = await this.client?.catch(() => undefined);
    this.client = undefined;
    await client?.end().catch(() => {});
  }

  private connection(): Promise<pg.Client> {
    if (this.closed) return Promise.reject(new Error('closed'));
    this.client ??= this.connect();
    return this.client;
  }

  private async connect(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.options.url,
      application_name: this.options.name,
      connectionTimeoutMillis: 5_000,
      query_timeout: this.options.timeout ?? 15_000,
      keepAlive: true,
      pipeline: this.options.pipeline ?? false,
      types,
      options: Object.entries({ timezone: 'UTC', client_encoding: 'UTF8', ...this.options.settings })
        .map(([key, value]) => `-c ${key}=${value}`)
        .join(' '),
    });
    client.on('error', () => this.drop(client));
    client.on('end', () => this.drop(client));
    try {
      await client.connect();
    } catch (error) {
      this.client = undefined;
      this.end(client);
      throw error;
    }
    this.live = client;
    return client;
  }

  private drop(client: pg.Client): void {
    if (this.live !== client) return;
    this.live = undefined;
    this.client = undefined;
    this.end(client);
    this.options.onLost?.();
  }

  private end(client: pg.Client): void {
    client.end().catch(() => {});
    // A server that does not answer would keep the socket, and what waits on it, for ever.
    streamOf(client).destroy();
  }
}
