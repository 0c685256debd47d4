import { type Command, InvalidArgumentError } from 'commander';
import { printJson, printLine, printTable } from '../output.js';
import type { CommandContext } from './context.js';
import { withNewKey } from './new-key.js';

interface ReaderLine {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly expiresAt: string | null;
  readonly revoked: boolean;
  /** What is left to do by hand. */
  readonly note?: string;
}

const FEEDS = ['cadf', 'notifications', 'events'];
const feeds = (value: string, before: readonly string[] = []): string[] => {
  if (!FEEDS.includes(value)) throw new InvalidArgumentError(`One of ${FEEDS.join(', ')}.`);
  return [...before, value];
};
const days = (value: string): number => {
  const n = Number(value);
  if (!Number.isInteger(n) || n < 1) throw new InvalidArgumentError('A whole number of days.');
  return n;
};

export const feedCommands = (program: Command, context: CommandContext): void => {
  const { out } = context;
  const feed = program.command('feed').description('who outside may hear what is published of the log on NATS');
  const ask = async (command: string, args: Record<string, unknown> = {}) =>
    (await context.client()).ask('scheduler', command, args);
  const show = (readers: readonly ReaderLine[]) =>
    printTable(out, readers, [
      ['NAME', (r) => r.name],
      ['HEARS', (r) => r.subjects.join(', ')],
      ['UNTIL', (r) => (r.revoked ? 'revoked' : r.expiresAt)],
    ]);

  feed
    .command('list')
    .description('all readers')
    .option('--json', 'as JSON')
    .action(async ({ json }) => {
      const readers = (await ask('feed-list')) as ReaderLine[];
      if (json) printJson(out, readers);
      else show(readers);
    });

  feed
    .command('admit')
    .argument('<name>', 'name of the reader')
    .description('let a reader hear feeds, and nothing else; the key is made here and never leaves')
    .option('--feed <feed>', `${FEEDS.join(', ')}; may be given more than once (default: cadf)`, feeds)
    .option('--project <id>', 'of the feed cadf only the matters of this project')
    .option('--days <n>', 'until when', days, 90)
    .option('--out <file>', 'where the credentials go (default: NAME.creds)')
    .option('--json', 'as JSON')
    .action(async (name: string, { feed: wanted, project, days: valid, out: given, json }) => {
      const file: string = given ?? `${name}.creds`;
      const admitted = await withNewKey(file, async (publicKey) => {
        const args = { name, publicKey, feeds: wanted ?? ['cadf'], days: valid, ...(project ? { project } : {}) };
        return (await ask('feed-admit', args)) as ReaderLine & { readonly jwt: string };
      });
      const { jwt: _, ...told } = admitted;
      if (json) return printJson(out, { ...told, credentials: file });
      printLine(out, `${name} may hear ${told.subjects.join(', ')} until ${told.expiresAt} with ${file}`);
    });

  feed
    .command('revoke')
    .argument('<name>', 'name of the reader')
    .description('cut a reader off; its key is refused from now on')
    .option('--json', 'as JSON')
    .action(async (name: string, { json }) => {
      const reader = (await ask('feed-revoke', { name })) as ReaderLine;
      if (json) return printJson(out, reader);
      show([reader]);
      if (reader.note) printLine(out, reader.note);
    });
};
