import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { ROLES } from '../../deploy/roles.mjs';

/** What was told to a cloud, or made by it, that nobody else may ever read. */
export type Secrets = Readonly<Record<string, string>>;

/** The forms in which a secret could be written down. */
const formsOf = (secret: string): string[] => {
  const bytes = Buffer.from(secret);
  const json = JSON.stringify(secret).slice(1, -1);
  const base64 = bytes.toString('base64');
  // Within a longer text in base64 only its middle stays the same, in one of three shapes.
  const shifted = [1, 2].map((n) =>
    Buffer.concat([Buffer.alloc(n), bytes])
      .toString('base64')
      .slice(4),
  );
  const inner = [base64, ...shifted].map((text) => text.replace(/=+$/, '').slice(0, -4)).filter((t) => t.length >= 12);
  return [...new Set([secret, json, encodeURIComponent(secret), bytes.toString('hex'), ...inner])];
};

const textOf = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));

/** Looks for secrets in whatever is written down. */
export class SecretScan {
  private readonly forms: (readonly [what: string, form: string])[];
  readonly found: string[] = [];
  /** How much was looked at, by place. */
  readonly seen: Record<string, number> = {};

  constructor(secrets: Secrets) {
    this.forms = Object.entries(secrets).flatMap(([what, secret]) =>
      formsOf(secret).map((form) => [what, form] as const),
    );
  }

  text(place: string, text: string): void {
    this.seen[place] = (this.seen[place] ?? 0) + text.length;
    for (const [what, form] of this.forms) {
      const at = text.indexOf(form);
      if (at >= 0) this.found.push(`${what} in ${place}: …${text.slice(Math.max(0, at - 80), at)}`);
    }
  }

  /** All files below a folder. */
  files(place: string, folder: string): void {
    if (!existsSync(folder)) return;
    for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true }))
      if (entry.isFile()) this.text(place, readFileSync(join(entry.parentPath, entry.name), 'latin1'));
  }

  /** Every row that the services of a one-machine cloud can read, of the log and of their read models. */
  async database(home: string): Promise<void> {
    const data = join(home, 'data');
    const port = readFileSync(join(data, 'postgres.port'), 'utf8').trim();
    for (const { role } of ROLES) {
      const password = readFileSync(join(data, 'secrets', `${role}.password`), 'utf8').trim();
      const client = new pg.Client({
        connectionString: `postgres://${role}:${password}@127.0.0.1:${port}/omnivisor`,
      });
      await client.connect();
      try {
        const { rows: tables } = await client.query<{ schema: string; name: string }>(
          `select table_schema as schema, table_name as name from information_schema.table_privileges
           where grantee = current_user and privilege_type = 'SELECT'`,
        );
        for (const { schema, name } of tables) {
          const { rows } = await client.query<Record<string, unknown>>(`select * from "${schema}"."${name}"`);
          // A read model's table carries the mark of its release.
          const place = `${schema}.${name.replace(/__\w+$/, '')}`;
          for (const value of rows.flatMap((row) => Object.values(row)))
            this.text(place, Buffer.isBuffer(value) ? value.toString('latin1') : textOf(value));
        }
      } finally {
        await client.end();
      }
    }
  }
}
