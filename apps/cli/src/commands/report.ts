import { writeFileSync } from 'node:fs';
import { conflict, invalid } from '@omnivisor/contracts';
import type { Command } from 'commander';
import { type Output, printJson, printLine, printTable } from '../output.js';
import type { CommandContext } from './context.js';
import { keysOf, textOf } from './evidence.js';

interface UsageLine {
  readonly project: string;
  readonly host: string;
  readonly hypervisor: string;
  readonly osType: string;
  readonly servers: number;
  readonly coreHours: number;
  readonly runningCoreHours: number;
  readonly memoryGibHours: number;
  readonly diskGibHours: number;
}
interface LicenceLine {
  readonly osType: string;
  readonly hypervisor: string;
  readonly host: string;
  readonly servers: number;
  readonly runningCoreHours: number;
  readonly peakCores: number;
  readonly peakServers: number;
  readonly peakAt: string;
}
interface SignedReport {
  readonly report: {
    readonly kind: string;
    readonly from: string;
    readonly to: string;
    readonly position: number;
    readonly lines: readonly (UsageLine & LicenceLine)[];
  };
  readonly note: string;
}

const APP = 'api-gateway';
const LONG = 600_000;
const hours = (value: number): string => value.toFixed(3);

const print = (out: Output, { report }: SignedReport): void => {
  if (report.kind === 'usage')
    printTable(out, report.lines, [
      ['PROJECT', (l) => l.project],
      ['HOST', (l) => l.host],
      ['HYPERVISOR', (l) => l.hypervisor],
      ['OS', (l) => l.osType],
      ['SERVERS', (l) => l.servers],
      ['CORE HOURS', (l) => hours(l.coreHours)],
      ['RUNNING', (l) => hours(l.runningCoreHours)],
      ['GIB HOURS', (l) => hours(l.memoryGibHours)],
      ['DISK GIB HOURS', (l) => hours(l.diskGibHours)],
    ]);
  else
    printTable(out, report.lines, [
      ['OS', (l) => l.osType],
      ['HYPERVISOR', (l) => l.hypervisor],
      ['HOST', (l) => l.host],
      ['SERVERS', (l) => l.servers],
      ['RUNNING CORE HOURS', (l) => hours(l.runningCoreHours)],
      ['PEAK CORES', (l) => l.peakCores],
      ['PEAK SERVERS', (l) => l.peakServers],
      ['PEAK AT', (l) => l.peakAt],
    ]);
  printLine(out, `from ${report.from} to ${report.to}, counted from the log up to position ${report.position}`);
};

const save = (path: string, signed: SignedReport): void => {
  try {
    writeFileSync(path, `${JSON.stringify(signed, null, 2)}\n`, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'EEXIST' ? conflict(`${path} is there already`) : invalid(`${path}: ${code}`);
  }
};

const parsed = (path: string): unknown => {
  try {
    return JSON.parse(textOf(path));
  } catch (error) {
    if (error instanceof SyntaxError) throw invalid(`${path} is no report`);
    throw error;
  }
};

/** `report usage`, `report licences`, `report verify`. */
export const reportCommands = (program: Command, context: CommandContext): void => {
  const { out } = context;
  const report = program.command('report').description('what was used, counted from the log and signed');
  for (const [kind, doc] of [
    ['usage', 'core hours by project, host, hypervisor and os_type'],
    ['licences', 'the most cores that ran at one time, by os_type and host'],
  ] as const)
    report
      .command(kind)
      .description(doc)
      .requiredOption('--from <moment>', 'a time (RFC 3339) or position')
      .option('--to <moment>', 'a later one; what is sealed now when not given')
      .option('--out <file>', 'keep it, signed, in a file that does not exist yet')
      .option('--json', 'as JSON')
      .action(async ({ json, out: file, ...args }) => {
        const signed = (await (await context.client()).ask(APP, 'report', { kind, ...args }, LONG)) as SignedReport;
        if (file) save(file, signed);
        if (json) return printJson(out, signed);
        print(out, signed);
      });

  report
    .command('verify')
    .argument('<file>', 'a report that was kept')
    .description('is it what was signed, and does the log still say the same?')
    .option('--key <file>', "public keys to trust, a line each; the log's own when not given")
    .option('--json', 'as JSON')
    .action(async (file, { key, json }) => {
      const args = { signed: parsed(file), keys: keysOf(key) };
      const verdict = (await (await context.client()).ask(APP, 'report-verify', args, LONG)) as {
        ok: boolean;
        problem: string | null;
      };
      if (!verdict.ok) context.fail(1);
      if (json) return printJson(out, verdict);
      printLine(out, verdict.ok ? 'ok: as signed, and as the log says' : `NOT AS SIGNED: ${verdict.problem}`);
    });
};
