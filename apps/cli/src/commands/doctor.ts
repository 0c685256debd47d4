import { DomainError } from '@omnivisor/contracts';
import type { Command } from 'commander';
import { printJson, printTable } from '../output.js';
import { askAll } from './config.js';
import type { CommandContext } from './context.js';

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
}
interface Health {
  readonly dependencies: readonly { readonly name: string; readonly ok: boolean; readonly reason: string | null }[];
}
interface HostLine {
  readonly name: string;
  readonly state: string;
  readonly enabled: boolean;
  readonly quarantined: number;
  readonly healthy: boolean;
  readonly probes: readonly { readonly backend: string; readonly health: string; readonly reason: string }[];
}

const examine = async (context: CommandContext): Promise<Finding[]> => {
  const findings: Finding[] = [];
  try {
    await context.client();
    findings.push({ what: 'NATS', ok: true, detail: 'connected' });
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    return [{ what: 'NATS', ok: false, detail: error.message }];
  }
  const configured = await askAll<{ name: string; problem: string }[]>(context, 'config-check');
  const healths = await askAll<Health>(context, 'health');
  for (const [i, { app, answer, reason }] of configured.entries()) {
    const dependencies = healths[i]!.answer?.dependencies ?? [];
    const problems = [
      ...(answer ?? []).map((p) => `${p.name}: ${p.problem}`),
      ...dependencies.filter((d) => !d.ok).map((d) => `${d.name}: ${d.reason}`),
    ];
    const silent = reason ?? healths[i]!.reason;
    findings.push({
      what: app,
      ok: silent === null && problems.length === 0,
      detail: silent ?? (problems.join('; ') || 'answers'),
    });
  }
  try {
    findings.push(...(await hosts(context)));
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    findings.push({ what: 'hosts', ok: false, detail: error.message });
  }
  return findings;
};

const hosts = async (context: CommandContext): Promise<Finding[]> => {
  const all = (await (await context.client()).ask('scheduler', 'host-list')) as HostLine[];
  const here = all.filter((h) => h.state !== 'retired');
  if (here.length === 0) return [{ what: 'hosts', ok: false, detail: 'none is enrolled' }];
  return here.map((h) => ({
    what: `host ${h.name}`,
    ok: h.state === 'up' && h.healthy && h.quarantined === 0,
    detail: [
      h.state,
      h.enabled ? '' : 'disabled',
      h.quarantined > 0 ? `${h.quarantined} guests in quarantine` : '',
      ...h.probes.map(({ backend, health, reason }) => `${backend} is ${health}: ${reason}`),
    ]
      .filter((part) => part !== '')
      .join(', '),
  }));
};

export const doctorCommand = (program: Command, context: CommandContext): void => {
  program
    .command('doctor')
    .description('is the cloud well? fails when something is not')
    .option('--json', 'as JSON')
    .action(async ({ json }) => {
      const findings = await examine(context);
      if (findings.some((f) => !f.ok)) context.fail(1);
      if (json) return printJson(context.out, findings);
      printTable(context.out, findings, [
        ['', (f) => (f.ok ? 'ok' : 'NOT OK')],
        ['WHAT', (f) => f.what],
        ['DETAIL', (f) => f.detail],
      ]);
    });
};
