import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { conflict, invalid } from '@omnivisor/contracts';
import type { Command } from 'commander';
import type { Client } from '../client.js';
import { printLine } from '../output.js';
import { writeBundle } from './bundle.js';
import type { CommandContext } from './context.js';

interface ExportOptions {
  readonly format: string;
  readonly out: string;
  readonly from?: string;
  readonly to?: string;
  readonly project?: string;
}

const APP = 'api-gateway';
const LONG = 600_000;

const opened = (path: string): number => {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'EEXIST' ? conflict(`${path} is there already`) : invalid(`${path}: ${code}`);
  }
};

/** Writes events a line each. @returns how many; nothing is left of the file after a failure */
const writeLines = async (client: Client, options: ExportOptions): Promise<number> => {
  const { format, out, from, to, project } = options;
  const bounds = { ...(from ? { from } : {}), ...(to ? { to } : {}) };
  const range = (await client.ask(APP, 'audit-range', bounds)) as { after: number; until: number };
  const file = opened(out);
  let events = 0;
  try {
    for (let after: number | null = range.after; after !== null; ) {
      const args = { format, after, until: range.until, ...(project ? { project } : {}) };
      const page = (await client.ask(APP, 'audit-export', args, LONG)) as { items: object[]; next: number | null };
      for (const item of page.items) writeSync(file, `${JSON.stringify(item)}\n`);
      events += page.items.length;
      after = page.next;
    }
  } catch (error) {
    rmSync(out, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  return events;
};

/** `audit export`. */
export const exportCommand = (audit: Command, { out, client }: CommandContext): void => {
  audit
    .command('export')
    .description('write the log for others to read')
    .requiredOption('--out <path>', 'a folder (bundle) or file that does not exist yet')
    .option(
      '--format <format>',
      'bundle: sealed, for tools/verify-bundle.mjs; cadf or jsonl: an event a line',
      'bundle',
    )
    .option('--from <moment>', 'events after this time (RFC 3339) or position; not for a bundle')
    .option('--to <moment>', 'events up to this time or position; not for a bundle')
    .option('--project <id>', 'matters of this project; not for a bundle')
    .action(async (options: ExportOptions) => {
      const { format, out: path, from, to, project } = options;
      if (!['bundle', 'cadf', 'jsonl'].includes(format))
        throw invalid(`no format ${format}; there are: bundle, cadf, jsonl`);
      if (format !== 'bundle') return printLine(out, `${await writeLines(await client(), options)} events in ${path}`);
      if (from ?? to ?? project) throw invalid('a bundle has the whole log, else it could not be verified');
      const { events, size } = await writeBundle(await client(), path);
      printLine(out, `${events} events up to the checkpoint of ${size} in ${path}`);
    });
};
