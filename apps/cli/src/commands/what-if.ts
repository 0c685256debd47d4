import { invalid } from '@omnivisor/contracts';
import type { Command } from 'commander';
import { printJson, printLine, printTable } from '../output.js';
import type { CommandContext } from './context.js';

interface WhatIf {
  readonly decisions: number;
  readonly same: number;
  readonly moved: number;
  readonly placed: number;
  readonly refused: number;
  readonly untold: number;
  readonly differences: readonly {
    readonly at: string;
    readonly serverId: string;
    readonly attempt: number;
    readonly was: string | null;
    readonly wouldBe: string | null;
    readonly smallestChange: string | null;
  }[];
}

const LONG = 600_000;
const collect = (value: string, list: readonly string[]): string[] => [...list, value];

/** `cpuAllocationRatio=8` or `hosts=3:compute-1`. */
const changesOf = (given: readonly string[]): { settings: Record<string, number>; hosts: object[] } => {
  const settings: Record<string, number> = {};
  const hosts: object[] = [];
  for (const change of given) {
    const [, count, like] = /^hosts=(\d{1,4}):(.+)$/.exec(change) ?? [];
    const [, name, value] = /^(\w+)=(-?\d+(?:\.\d+)?)$/.exec(change) ?? [];
    if (like !== undefined) hosts.push({ like, count: Number(count) });
    else if (name !== undefined) settings[name] = Number(value);
    else throw invalid(`--with ${change}: SETTING=NUMBER or hosts=NUMBER:LIKE is needed`);
  }
  return { settings, hosts };
};

/** `whatif`. */
export const whatIfCommand = (program: Command, { out, client }: CommandContext): void => {
  program
    .command('whatif')
    .description('the placement requests of a period under other scheduler settings or with more hosts')
    .requiredOption('--at <moment>', 'begins here: a time (RFC 3339) or position')
    .option('--to <moment>', 'ends here; now when not given')
    .requiredOption(
      '--with <change>',
      'what is different, e.g. cpuAllocationRatio=8, cpuWeightMultiplier=1 or hosts=3:compute-1; may be given again',
      collect,
      [],
    )
    .option('--json', 'as JSON')
    .action(async ({ at, to, with: given, json }) => {
      const changes = changesOf(given);
      const asked = await client();
      const bounds = { from: at, ...(to ? { to } : {}) };
      const { after, until } = (await asked.ask('api-gateway', 'audit-range', bounds)) as {
        after: number;
        until: number;
      };
      const args = { from: after, to: until, changes };
      const result = (await asked.ask('scheduler', 'placement-what-if', args, LONG)) as WhatIf;
      if (json) return printJson(out, result);
      if (result.differences.length > 0)
        printTable(out, result.differences, [
          ['AT', (d) => d.at],
          ['SERVER', (d) => d.serverId],
          ['ATTEMPT', (d) => d.attempt],
          ['WAS', (d) => d.was ?? 'refused'],
          ['WOULD BE', (d) => d.wouldBe ?? `refused${d.smallestChange ? `; would fit ${d.smallestChange}` : ''}`],
        ]);
      printLine(
        out,
        `${result.decisions} decisions: ${result.same} the same, ${result.moved} on another host, ${result.placed} placed that were refused, ${result.refused} refused that were placed${result.untold > 0 ? `, ${result.untold} that cannot be told` : ''}`,
      );
    });
};
