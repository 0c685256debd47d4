import type { Command } from 'commander';
import { printJson, printLine, printTable } from '../output.js';
import type { CommandContext } from './context.js';

interface Guest {
  readonly hostname: string | null;
  readonly operating_system: string | null;
  readonly addresses: readonly string[];
  readonly services: readonly { readonly name: string; readonly answers: boolean }[];
}

/** Milliseconds: the host asks the guest. */
const LONG = 20_000;

/** What a guest tells of itself. */
export const guestCommand = (program: Command, { out, client }: CommandContext): void => {
  program
    .command('guest')
    .argument('<server>', 'id')
    .description('what the guest of a server tells of itself now; it may say anything')
    .option('--json', 'as JSON')
    .action(async (server: string, { json }) => {
      const { guest } = (await (await client()).ask('api-gateway', 'guest-show', { server }, LONG)) as { guest: Guest };
      if (json) return printJson(out, guest);
      printLine(out, `hostname   ${guest.hostname ?? '-'}`);
      printLine(out, `system     ${guest.operating_system ?? '-'}`);
      printLine(out, `addresses  ${guest.addresses.join(', ') || '-'}`);
      printTable(out, guest.services, [
        ['SERVICE', ({ name }) => name],
        ['ANSWERS', ({ answers }) => (answers ? 'yes' : 'no')],
      ]);
    });
};
