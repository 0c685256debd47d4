import type { Command } from 'commander';
import { type Output, printJson, printLine, printTable } from '../output.js';
import type { CommandContext } from './context.js';

interface CausalNode {
  readonly position: number;
  readonly type: string;
  readonly at: string;
  readonly service: string;
  readonly who: string;
  readonly what: string;
  readonly reasons: readonly string[];
  readonly call: {
    readonly operation: string;
    readonly host: string | null;
    readonly hypervisor: string | null;
  } | null;
  readonly effects: readonly CausalNode[];
}
interface Story {
  readonly requests: readonly {
    readonly requestId: string;
    readonly at: string;
    readonly who: string;
    readonly effects: readonly CausalNode[];
  }[];
  readonly more: boolean;
}
interface Deed {
  readonly at: string;
  readonly user: string;
  readonly name: string | null;
  readonly project: string | null;
  readonly address: string | null;
  readonly what: string;
  readonly outcome: string;
  readonly requestId: string;
}

interface Recomputed {
  readonly position: number;
  readonly attempt: number;
  readonly equal: boolean | null;
  readonly note: string | null;
  readonly recorded: { readonly host: string | null };
  readonly again: { readonly host: string | null } | null;
}

const APP = 'api-gateway';
const LONG = 600_000;

const printNode = (out: Output, { at, service, what, reasons, call, effects }: CausalNode, depth: number): void => {
  const indent = '  '.repeat(depth);
  printLine(out, `${indent}${at.slice(11, 23)}  [${service}] ${what}`);
  for (const reason of reasons) printLine(out, `${indent}      ${reason}`);
  if (call)
    printLine(
      out,
      `${indent}      hypervisor call: ${call.operation} on ${call.host}, ${call.hypervisor ?? 'unknown'}`,
    );
  for (const effect of effects) printNode(out, effect, depth + 1);
};

const DECISIONS = new Set(['AllocationClaimed', 'PlacementRefused']);
const decisionsIn = (nodes: readonly CausalNode[]): number[] =>
  nodes.flatMap((n) => [...(DECISIONS.has(n.type) ? [n.position] : []), ...decisionsIn(n.effects)]);

const placeOf = (verdict: Recomputed['again']): string => (verdict?.host ? `host ${verdict.host}` : 'no host');

const printRecomputed = (out: Output, { position, attempt, equal, note, recorded, again }: Recomputed): void => {
  const what = `decision of attempt ${attempt} at position ${position}`;
  if (equal === null) printLine(out, `${what}: cannot be told: ${note}`);
  else if (equal) printLine(out, `${what}: equal when decided again from the log (${placeOf(recorded)})`);
  else printLine(out, `${what}: DIFFERENT: recorded ${placeOf(recorded)}, decided again ${placeOf(again)}`);
};

/** `audit why`, `audit who`. */
export const whyCommands = (audit: Command, context: CommandContext): void => {
  const { out } = context;

  audit
    .command('why')
    .argument('<server>', 'id of a server')
    .description('the story of a server over all services: what caused what, down to the hypervisor calls, and why')
    .option('--full', 'decide each placement again from the log; fails when one comes out differently')
    .option('--json', 'as JSON')
    .action(async (server, { full, json }) => {
      const client = await context.client();
      const story = (await client.ask(APP, 'audit-why', { server }, LONG)) as Story;
      const positions = full ? story.requests.flatMap(({ effects }) => decisionsIn(effects)) : [];
      const recomputed = full
        ? ((await client.ask('scheduler', 'placement-recompute', { positions }, LONG)) as Recomputed[])
        : [];
      if (recomputed.some(({ equal }) => equal === false)) context.fail(1);
      if (json) return printJson(out, full ? { ...story, recomputed } : story);
      for (const { requestId, at, who, effects } of story.requests) {
        printLine(out, `${at}  ${who}  (${requestId})`);
        for (const effect of effects) printNode(out, effect, 1);
      }
      for (const result of recomputed) printRecomputed(out, result);
      if (story.more) printLine(out, 'there is more: omnivisor audit list --resource ID');
    });

  audit
    .command('who')
    .argument('<resource>', 'id of a server, network, image, user, …')
    .description('who did something to it, or tried to, the newest first')
    .option('--json', 'as JSON')
    .action(async (resource, { json }) => {
      const deeds = (await (await context.client()).ask(APP, 'audit-who', { resource })) as Deed[];
      if (json) return printJson(out, deeds);
      printTable(out, deeds, [
        ['AT', (d) => d.at],
        ['USER', (d) => d.name ?? d.user],
        ['PROJECT', (d) => d.project],
        ['ADDRESS', (d) => d.address],
        ['WHAT', (d) => d.what],
        ['OUTCOME', (d) => d.outcome],
        ['REQUEST', (d) => d.requestId],
      ]);
    });
};
