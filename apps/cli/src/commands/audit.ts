import type { Command } from 'commander';
import { printJson, printTable } from '../output.js';
import { count } from './arguments.js';
import type { CommandContext } from './context.js';
import { eraseCommand } from './erase.js';
import { evidenceCommands } from './evidence.js';
import { exportCommand } from './export.js';
import { timeMachineCommands } from './time-machine.js';
import { whyCommands } from './why.js';

interface EventLine {
  readonly position: number;
  readonly recordedAt: string;
  readonly type: string;
  readonly stream: string;
  readonly id: string;
  readonly context: { readonly actor: { kind: string; userId?: string; service?: string }; readonly requestId: string };
}
const APP = 'api-gateway';

const actorOf = ({ actor }: EventLine['context']): string =>
  actor.kind === 'user' ? `user ${actor.userId}` : (actor.service ?? actor.kind);

export const auditCommands = (program: Command, context: CommandContext): void => {
  const { out } = context;
  const audit = program.command('audit').description('what happened, who asked for it, and why');

  audit
    .command('list')
    .description('events of the log, oldest first')
    .option('--after <position>', 'start after this position', count)
    .option('--limit <n>', 'at most this many, 100 when not given, and 1,000', count)
    .option('--type <type>', 'events of one type, e.g. ServerScheduled')
    .option('--stream <stream>', 'events of one stream, e.g. server-<id>')
    .option('--project <id>', 'matters of this project; none for the cloud itself')
    .option('--user <id>', 'caused by this user')
    .option('--request <id>', 'caused by this request, over all services')
    .option('--resource <id>', 'that speak of this')
    .option('--outcome <outcome>', 'success, failure or pending')
    .option('--from <moment>', 'after this time (RFC 3339) or position')
    .option('--to <moment>', 'up to this time or position')
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

  whyCommands(audit, context);
  timeMachineCommands(audit, context);
  exportCommand(audit, context);
  evidenceCommands(audit, context);
  eraseCommand(audit, context);
};
