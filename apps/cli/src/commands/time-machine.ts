import type { Command } from 'commander';
import { printJson, printLine } from '../output.js';
import { count } from './arguments.js';
import type { CommandContext } from './context.js';

interface ReplayReport {
  readonly equal: boolean;
  readonly position: number;
  readonly tables: readonly { table: string; rows: number }[];
  readonly differences: readonly { table: string; key: string; problem: string }[];
}
interface Difference {
  readonly from: number;
  readonly to: number;
  readonly rows: readonly {
    readonly table: string;
    readonly key: string;
    readonly change: string;
    readonly fields: Readonly<Record<string, readonly [unknown, unknown]>>;
  }[];
  readonly more: boolean;
}

const APP = 'api-gateway';
const LONG = 600_000;
const SIGNS: Readonly<Record<string, string>> = { added: '+', removed: '-', changed: '~' };
const shown = (value: unknown): string => (value === undefined || value === null ? '-' : JSON.stringify(value));

/** `audit diff`, `audit replay`. */
export const timeMachineCommands = (audit: Command, context: CommandContext): void => {
  const { out } = context;

  audit
    .command('diff')
    .description('what was different between two moments')
    .requiredOption('--from <moment>', 'a time (RFC 3339) or position')
    .option('--to <moment>', 'a later one; now when not given')
    .option('--limit <n>', 'at most this many rows', count)
    .option('--json', 'as JSON')
    .action(async ({ json, ...args }) => {
      const found = (await (await context.client()).ask(APP, 'audit-diff', args, LONG)) as Difference;
      if (json) return printJson(out, found);
      for (const { table, key, change, fields } of found.rows) {
        printLine(out, `${SIGNS[change] ?? '?'} ${table} ${key}`);
        if (change === 'changed')
          for (const [name, [before, after]] of Object.entries(fields))
            printLine(out, `    ${name}: ${shown(before)} -> ${shown(after)}`);
      }
      const more = found.more ? ', and more' : '';
      printLine(out, `${found.rows.length} rows differ${more} between position ${found.from} and ${found.to}`);
    });

  audit
    .command('replay')
    .description('fold the log from zero and compare it with the read models; fails when they differ')
    .option('--at <moment>', 'up to a time (RFC 3339) or position, compared with the rows of that moment')
    .option('--json', 'as JSON')
    .action(async ({ at, json }) => {
      const args = at === undefined ? {} : { at };
      const report = (await (await context.client()).ask(APP, 'audit-replay', args, LONG)) as ReplayReport;
      if (!report.equal) context.fail(1);
      if (json) return printJson(out, report);
      const rows = report.tables.reduce((sum, t) => sum + t.rows, 0);
      printLine(
        out,
        `${report.equal ? 'equal' : 'DIFFERENT'}: ${report.tables.length} tables, ${rows} rows at position ${report.position}`,
      );
      for (const { table, key, problem } of report.differences) printLine(out, `  ${table} ${key}: ${problem}`);
    });
};
