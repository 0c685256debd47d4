import { DomainError } from '@omnivisor/contracts';
import type { Command } from 'commander';
import { printJson, printLine, printTable, text } from '../output.js';
import type { CommandContext } from './context.js';

export const APPS = ['api-gateway', 'scheduler', 'image-service'] as const;

interface Entry {
  readonly name: string;
  readonly value: unknown;
  readonly source: string;
}
interface Problem {
  readonly name: string;
  readonly problem: string;
}

/** Asks every service; one that does not answer is told as such. */
export const askAll = async <T>(
  context: CommandContext,
  command: string,
): Promise<{ app: string; answer: T | null; reason: string | null }[]> => {
  const client = await context.client();
  return Promise.all(
    APPS.map(async (app) => {
      try {
        return { app, answer: (await client.ask(app, command)) as T, reason: null };
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        return { app, answer: null, reason: error.message };
      }
    }),
  );
};

export const configCommands = (program: Command, context: CommandContext): void => {
  const { out } = context;
  const config = program.command('config').description('what the services were started with');

  config
    .command('show')
    .description('settings in force; secrets are masked')
    .option('--json', 'as JSON')
    .action(async ({ json }) => {
      const answers = await askAll<Entry[]>(context, 'config-show');
      if (answers.some((a) => a.answer === null)) context.fail(1);
      for (const { app, reason } of answers) if (reason !== null) out.error(text(`${app}: ${reason}`));
      if (json) return printJson(out, Object.fromEntries(answers.map((a) => [a.app, a.answer])));
      const rows = answers.flatMap(({ app, answer }) => (answer ?? []).map((entry) => ({ app, ...entry })));
      printTable(out, rows, [
        ['SERVICE', (r) => r.app],
        ['NAME', (r) => r.name],
        ['VALUE', (r) => r.value],
        ['FROM', (r) => r.source],
      ]);
    });

  config
    .command('check')
    .description('fails with every problem at once')
    .option('--json', 'as JSON')
    .action(async ({ json }) => {
      const answers = await askAll<Problem[]>(context, 'config-check');
      const problems = answers.flatMap(({ app, answer, reason }) =>
        (answer ?? [{ name: '-', problem: reason ?? '' }]).map((p) => ({ app, ...p })),
      );
      if (problems.length > 0) context.fail(1);
      if (json) return printJson(out, problems);
      if (problems.length === 0) return printLine(out, `no problem in ${answers.length} services`);
      printTable(out, problems, [
        ['SERVICE', (p) => p.app],
        ['NAME', (p) => p.name],
        ['PROBLEM', (p) => p.problem],
      ]);
    });
};
