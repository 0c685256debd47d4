import { DomainError } from '@omnivisor/contracts';
import { Command, CommanderError } from 'commander';
import type { Client } from './client.js';
import { adoptCommands } from './commands/adopt.js';
import { auditCommands } from './commands/audit.js';
import { configCommands } from './commands/config.js';
import { doctorCommand } from './commands/doctor.js';
import { feedCommands } from './commands/feed.js';
import { guestCommand } from './commands/guest.js';
import { hostCommands } from './commands/host.js';
import { moveCommands } from './commands/move.js';
import { reportCommands } from './commands/report.js';
import { whatIfCommand } from './commands/what-if.js';
import { type Output, text } from './output.js';

/** Codes the command line ends with. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, unavailable: 3 } as const;

const codeOf = (error: unknown, out: Output): number => {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  out.error(text(`omnivisor: ${error instanceof Error ? error.message : String(error)}`));
  return error instanceof DomainError && error.kind === 'unavailable' ? exitCodes.unavailable : exitCodes.failed;
};

/**
 * Runs one command.
 * @param argv what follows the program's name
 * @returns the exit code
 */
export const run = async (argv: readonly string[], out: Output, connect: () => Promise<Client>): Promise<number> => {
  let code: number = exitCodes.ok;
  let client: Promise<Client> | undefined;
  const context = {
    out,
    client: () => {
      client ??= connect();
      return client;
    },
    fail: (failed: number) => {
      code = failed;
    },
  };
  const program = new Command('omnivisor').description('operate an Omnivisor cloud').exitOverride();
  program.configureOutput({
    writeOut: (said) => out.line(said.trimEnd()),
    writeErr: (said) => out.error(said.trimEnd()),
  });
  for (const add of [
    adoptCommands,
    auditCommands,
    configCommands,
    doctorCommand,
    feedCommands,
    guestCommand,
    hostCommands,
    moveCommands,
    reportCommands,
    whatIfCommand,
  ])
    add(program, context);
  program.addHelpText('after', '\nWhere npm start runs the cloud, also: omnivisor backup, omnivisor restore (--help)');
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    code = codeOf(error, out);
  } finally {
    await client?.then((c) => c.close()).catch(() => {});
  }
  return code;
};
