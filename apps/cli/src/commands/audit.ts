import type { Command } from 'commander';
import { printJson, printLine, printTable } from '../output.js';
import { count } from './arguments.js';
import type { CommandContext } from './context.js';
import { evidenceCommands } from './evidence.js';

interface EventLine {
  readonly position: number;
  readonly recordedAt: string;
  readonly type: string;
  readonly stream: string;
  readonly id: string;
  readonly context: { readonly actor: { kind: string; userId?: string; service?: string }; readonly requestId: string };
}
interface StoryLine {
  readonly at: string;
  readonly who: string;
  readonly what: string;
  readonly requestId: string | null;
  readonly reasons: readonly string[];
}
interface ReplayReport {
  readonly equal: boolean;
  readonly position: number;
  readonly tables: readonly { table: string; rows: number }[];
  readonly differences: readonly { table: string; key: string; problem: string }[];
}

const APP = 'api-gateway';
const REPLAY_TIMEOUT = 600_000;

const actorOf = ({ actor }: EventLine['context']): string =>
  actor.kind === 'user' ? `user ${actor.userId}` : (actor.service ?? actor.kind);

export const auditCommands = (program: Command, context: CommandContext): void => {
  const { out } = context;
  const audit = program.command('audit').description('what happened, who asked for it, and why');

  audit
    .command('list')
    .description('events of the log, oldest first')
    .option('--after <position>', 'start after this position', count)
    .option('--limit <n>', 'at most this many', count)
    .option('--type <type>', 'events of one type, e.g. ServerScheduled')
    .option('--stream <stream>', 'events of one stream, e.g. server-<id>')
    .option('--project <id>', 'asked for by this project')
    .option('--user <id>', 'asked for by this user')
    .option('--request <id>', 'caused by this request')
    .option('--json', 'as JSON')
    .action(async ({ json, ...filters }) => {
      const events = (await (await context.client()).ask(APP, 'audit-list', filters)) as EventLine[];
      if (json) return printJson(out, events);
      printTable(out, events, [
        ['POSITION', (e) => e.position],
        ['AT', (e) => e.recordedAt],
        ['EVENT', (e) => e.type],
        ['STREAM', (e) => e.stream],
        ['BY', (e) => actorOf(e.context)],
        ['REQUEST', (e) => e.context.requestId],
      ]);
    });

  audit
    .command('show')
    .argument('<id>', 'id of an event, or its position')
    .description('one event with all its data, as JSON')
    .option('--json', 'as JSON, which it always is')
    .action(async (id) => printJson(out, await (await context.client()).ask(APP, 'audit-show', { id })));

  audit
    .command('why')
    .argument('<server>', 'id of a server')
    .description('the story of a server: who asked for what, where it went, and why')
    .option('--json', 'as JSON')
    .action(async (server, { json }) => {
      const story = (await (await context.client()).ask(APP, 'audit-why', { server })) as StoryLine[];
      if (json) return printJson(out, story);
      for (const line of story) {
        printLine(out, `${line.at}  ${line.who}: ${line.what}${line.requestId ? `  (${line.requestId})` : ''}`);
        for (const reason of line.reasons) printLine(out, `    ${reason}`);
      }
    });

  audit
    .command('replay')
    .description('fold the log from zero and compare it with the read models; fails when they differ')
    .option('--json', 'as JSON')
    .action(async ({ json }) => {
      const report = (await (await context.client()).ask(APP, 'audit-replay', {}, REPLAY_TIMEOUT)) as ReplayReport;
      if (!report.equal) context.fail(1);
      if (json) return printJson(out, report);
      const rows = report.tables.reduce((sum, t) => sum + t.rows, 0);
      printLine(
        out,
        `${report.equal ? 'equal' : 'DIFFERENT'}: ${report.tables.length} tables, ${rows} rows at position ${report.position}`,
      );
      for (const { table, key, problem } of report.differences) printLine(out, `  ${table} ${key}: ${problem}`);
    });
  evidenceCommands(audit, context);
};
