import { hostname, userInfo } from 'node:os';
import { invalid } from '@omnivisor/contracts';
import type { Command } from 'commander';
import { printJson, printLine } from '../output.js';
import type { CommandContext } from './context.js';

interface EraseOptions {
  readonly user?: string;
  readonly project?: string;
  readonly logins?: string;
  readonly reason: string;
  readonly by: string;
  readonly yes?: boolean;
  readonly json?: boolean;
}
interface Answer {
  readonly erased: boolean;
  readonly closed: number;
  readonly plain: number;
  readonly rows?: number;
}

const LONG = 600_000;

const subjectOf = (options: EraseOptions) => {
  const given = (['user', 'project', 'logins'] as const).flatMap((kind) =>
    options[kind] === undefined ? [] : [{ kind, id: options[kind] }],
  );
  if (given.length !== 1) throw invalid('name one of --user, --project and --logins');
  return given[0]!;
};

/** `audit erase`. */
export const eraseCommand = (audit: Command, context: CommandContext): void => {
  const { out } = context;
  audit
    .command('erase')
    .description('destroy the key of what is personal of a deleted user or project; the proof of the log still holds')
    .option('--user <id>', 'what names or describes this user')
    .option('--project <id>', 'what names or describes this project, and its servers')
    .option('--logins <day>', 'from where logins failed on this day, yyyy-mm-dd')
    .requiredOption('--reason <text>', 'why; it stays in the log')
    .option('--by <name>', 'who; it stays in the log', `${userInfo().username}@${hostname()}`)
    .option('--yes', 'do it; without this, only what there is to erase is told')
    .option('--json', 'as JSON')
    .action(async ({ yes = false, json, ...options }: EraseOptions) => {
      const subject = subjectOf(options);
      const args = { subject, reason: options.reason, by: options.by, confirmed: yes };
      const answer = (await (await context.client()).ask('api-gateway', 'audit-erase', args, LONG)) as Answer;
      if (!answer.erased) context.fail(1);
      if (json) return printJson(out, answer);
      const of = `${subject.kind} ${subject.id}`;
      if (answer.erased)
        printLine(out, `erased: ${answer.closed} events of ${of} cannot be read again; ${answer.rows} rows rewritten`);
      else
        printLine(out, `nothing is erased yet: --yes would erase what is personal in ${answer.closed} events of ${of}`);
      if (answer.plain > 0)
        printLine(out, `${answer.plain} events of an older release have it in the clear: they are sealed so, and stay`);
    });
};
