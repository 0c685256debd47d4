import { setTimeout as sleep } from 'node:timers/promises';
import { conflict, DomainError } from '@omnivisor/contracts';
import type { Command } from 'commander';
import { printJson, printLine } from '../output.js';
import type { CommandContext } from './context.js';

interface Whereabouts {
  readonly server: string;
  readonly host: string | null;
  readonly vm_state: string;
  readonly task_state: string | null;
  readonly migration_status?: string;
  readonly fault: { readonly message: string } | null;
}

const APP = 'api-gateway';
/** Milliseconds between two looks at a server that moves. */
const LOOK = 1_000;
/** Looks in a row without an answer that are put up with; one takes as long as a question may. */
const PATIENCE = 20;

/** A server goes to another host, and what it leaves behind is given up when it is there. */
export const moveCommands = (program: Command, context: CommandContext): void => {
  const { out } = context;
  const ask = async (command: string, args: Record<string, unknown>) =>
    (await (await context.client()).ask(APP, command, args)) as Whereabouts;

  /** Once the server is at rest. A gateway that is away for a moment changes nothing of its move. */
  const rested = async (server: string, seen: Whereabouts): Promise<Whereabouts> => {
    let now = seen;
    let lost = 0;
    while (now.task_state !== null) {
      await sleep(LOOK);
      try {
        now = await ask('server-where', { server });
        lost = 0;
      } catch (error) {
        lost += 1;
        const isAway = error instanceof DomainError && error.kind === 'unavailable';
        if (!isAway || lost > PATIENCE) throw error;
      }
    }
    return now;
  };

  program
    .command('move')
    .argument('<server>', 'id')
    .description(
      'take a server off, carry its disks to another host in the form that its hypervisor takes, start it there',
    )
    .requiredOption('--to <host>', 'name of the host; its hypervisor may be another one')
    .option('--keep', 'leave what is on the old host, for `openstack server resize revert` or `confirm`')
    .option('--json', 'as JSON')
    .action(async (server: string, { to, keep, json }) => {
      const before = await ask('server-where', { server });
      // A move that was left waiting for its confirmation is gone on with.
      const isThere = before.vm_state === 'resized' && before.host === to;
      const begun = isThere ? before : await ask('server-move', { server, host: to });
      if (!json && !isThere) printLine(out, `server ${server} leaves ${begun.host}`);
      const moved = await rested(server, begun);
      if (moved.vm_state !== 'resized')
        throw conflict(`server ${server} stays on ${moved.host}: ${moved.fault?.message ?? moved.migration_status}`);
      const now = keep ? moved : await rested(server, await ask('server-move-confirm', { server }));
      if (json) printJson(out, now);
      else printLine(out, `server ${server} is on ${now.host}${keep ? ', and not confirmed yet' : ''}`);
    });
};
