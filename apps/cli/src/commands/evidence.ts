import { readFileSync } from 'node:fs';
import { invalid } from '@omnivisor/contracts';
import type { Command } from 'commander';
import type { Client } from '../client.js';
import { printJson, printLine } from '../output.js';
import { count } from './arguments.js';
import type { CommandContext } from './context.js';

interface Report {
  readonly ok: boolean;
  readonly events?: number;
  readonly checkpoints?: number;
  readonly unsealed?: number;
  readonly firstBad?: number | null;
  readonly problem?: string | null;
  readonly sealing?: string | null;
}
interface Proof {
  readonly ok: boolean;
  readonly ordinal: number;
  readonly leaf: string;
  readonly proof: readonly string[];
  readonly checkpoint: string;
}
interface VerifyOptions {
  readonly event?: string;
  readonly from?: number;
  readonly count: number;
  readonly checkpoint: readonly string[];
  readonly consistent?: readonly string[];
  readonly key?: string;
  readonly json?: boolean;
}

const APP = 'api-gateway';
const LONG = 600_000;

export const textOf = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`${path}: ${(error as NodeJS.ErrnoException).code ?? 'cannot be read'}`);
  }
};

const noteOf = (line: string): unknown => {
  try {
    return (JSON.parse(line) as { note?: unknown } | null)?.note;
  } catch {
    return undefined;
  }
};

/**
 * Checkpoints of a file: one as a note, or one a line as a folder's day has them.
 * @throws DomainError `invalid` when there is none: nothing would be compared
 */
const notesOf = (path: string): string[] => {
  if (!path.endsWith('.jsonl')) return [textOf(path)];
  const notes = textOf(path)
    .split('\n')
    .flatMap((line, i) => {
      if (line === '') return [];
      const note = noteOf(line);
      if (typeof note !== 'string') throw invalid(`line ${i + 1} of ${path} has no checkpoint`);
      return [note];
    });
  if (notes.length === 0) throw invalid(`${path} has no checkpoint`);
  return notes;
};

/** Public keys of a file, a line each; none without a file. @throws DomainError `invalid` when the file has none: the log's own would be trusted */
export const keysOf = (path: string | undefined): string[] => {
  if (path === undefined) return [];
  const keys = textOf(path)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (keys.length === 0) throw invalid(`${path} has no key`);
  return keys;
};

const collect = (value: string, list: readonly string[]): string[] => [...list, value];

const verdict = (report: Report): string => {
  if (report.ok && report.events === undefined) return 'ok: the older checkpoint is the beginning of the newer';
  if (report.ok)
    return report.checkpoints === undefined
      ? `ok: ${report.events} events`
      : `ok: ${report.events} events, ${report.checkpoints} checkpoints; ${report.unsealed} events not sealed yet`;
  const where =
    report.firstBad === null || report.firstBad === undefined ? '' : ` first bad event: ${report.firstBad}.`;
  return `NOT AS SEALED:${where} ${report.problem ?? ''}`.trimEnd();
};

const verify = async (client: Client, options: VerifyOptions): Promise<Report | Proof> => {
  const keys = keysOf(options.key);
  const ask = (command: string, args: Record<string, unknown>) => client.ask(APP, command, { keys, ...args }, LONG);
  if (options.event !== undefined) return (await ask('audit-prove', { id: options.event })) as Proof;
  if (options.consistent) {
    if (options.consistent.length !== 2) throw invalid('--consistent compares two checkpoints');
    return (await ask('audit-consistency', { notes: options.consistent.map((path) => notesOf(path)[0]) })) as Report;
  }
  if (options.from !== undefined)
    return (await ask('audit-verify-range', { from: options.from, count: options.count })) as Report;
  return (await ask('audit-verify', { checkpoints: options.checkpoint.flatMap(notesOf) })) as Report;
};

/** `audit verify`, `audit key`, `audit checkpoint`. */
export const evidenceCommands = (audit: Command, context: CommandContext): void => {
  const { out } = context;

  audit
    .command('verify')
    .description('compare the log with its seals; fails with the first event that is not what was sealed')
    .option('--event <id>', 'prove one event, by its id or position')
    .option('--from <ordinal>', 'only events from this one on, counted from 0', count)
    .option('--count <n>', 'with --from: so many', count, 1_000)
    .option('--checkpoint <file>', 'a checkpoint that had left the box; may be given again', collect, [])
    .option('--consistent <file...>', 'two checkpoints: is one the beginning of the other?')
    .option('--key <file>', "public keys to trust, a line each; the log's own when not given")
    .option('--json', 'as JSON')
    .action(async (options: VerifyOptions) => {
      const report = await verify(await context.client(), options);
      // What is not sealed any more is no evidence, whatever was.
      if (!report.ok || ('sealing' in report && report.sealing)) context.fail(1);
      if (options.json) return printJson(out, report);
      if ('leaf' in report) {
        printLine(
          out,
          `event ${report.ordinal} is ${report.ok ? '' : 'NOT '}in the sealed log; its hashed text, the audit path and the checkpoint:`,
        );
        out.line(report.leaf);
        for (const hash of report.proof) out.line(hash);
        return out.line(report.checkpoint.trimEnd());
      }
      printLine(out, verdict(report));
      if (report.sealing) printLine(out, `sealing has stopped: ${report.sealing}`);
      if (!options.key) printLine(out, 'keys: as the log itself has them; --key names those you trust');
    });

  audit
    .command('key')
    .description('public keys that sign checkpoints, the newest first')
    .option('--rotate', 'let a new key sign from now on')
    .option('--json', 'as JSON')
    .action(async ({ rotate, json }) => {
      const client = await context.client();
      if (rotate) await client.ask(APP, 'audit-key-rotate');
      const keys = (await client.ask(APP, 'audit-key')) as string[];
      if (json) return printJson(out, keys);
      for (const key of keys) out.line(key);
    });

  audit
    .command('checkpoint')
    .description('the newest signed checkpoint of the log')
    .option('--json', 'as JSON')
    .action(async ({ json }) => {
      const checkpoint = (await (await context.client()).ask(APP, 'audit-checkpoint')) as { note: string };
      if (json) return printJson(out, checkpoint);
      out.line(checkpoint.note.trimEnd());
    });
};
