import { setTimeout as sleep } from 'node:timers/promises';
import { conflict, DomainError, invalid, notFound } from '@omnivisor/contracts';
import { Argument, type Command } from 'commander';
import { printJson, printLine, printTable } from '../output.js';
import { count } from './arguments.js';
import type { CommandContext } from './context.js';
import { withNewKey } from './new-key.js';

interface Maintenance {
  readonly on: boolean;
  readonly state: 'asked' | 'done' | 'failed';
  readonly error: string | null;
}
interface HostLine {
  readonly id: string;
  readonly name: string;
  readonly availabilityZone: string;
  readonly state: string;
  readonly enabled: boolean;
  readonly disabledReason: string | null;
  readonly hypervisor: string | null;
  readonly node: string | null;
  readonly quarantined: number;
  readonly healthy: boolean;
  readonly maintenance?: Maintenance | null;
  /** What is left to do by hand. */
  readonly note?: string;
}
interface GuestLine {
  readonly host: string;
  readonly serverId: string;
  readonly attempt: number;
  readonly reason: string;
  readonly verdict: string | null;
}
interface Enrolled {
  readonly hostId: string;
  readonly name: string;
  readonly availabilityZone: string;
  readonly jwt: string | null;
}

const APP = 'scheduler';
/** Milliseconds between two looks at a host that is being emptied. */
const LOOK = 2_000;
/** Looks in a row without an answer that are put up with. */
const PATIENCE = 20;

const maintenanceOf = ({ maintenance }: HostLine): string | null => {
  if (!maintenance || (!maintenance.on && maintenance.state === 'done')) return null;
  const { on, state } = maintenance;
  if (state === 'done') return 'in maintenance';
  if (state === 'failed') return on ? 'not emptied' : 'not taken back';
  return on ? 'being emptied' : 'being taken back';
};
const isAsked = ({ maintenance }: HostLine): boolean => maintenance?.state === 'asked';
const stateOf = (host: HostLine): string =>
  [host.state, ...(host.healthy ? [] : ['unhealthy']), maintenanceOf(host) ?? []].flat().join(', ');

export const hostCommands = (program: Command, context: CommandContext): void => {
  const { out } = context;
  const host = program.command('host').description('compute hosts');
  const ask = async (command: string, args: Record<string, unknown> = {}) =>
    (await context.client()).ask(APP, command, args);

  const show = (hosts: readonly HostLine[]) =>
    printTable(out, hosts, [
      ['NAME', (h) => h.name],
      ['ID', (h) => h.id],
      ['ZONE', (h) => h.availabilityZone],
      ['STATE', stateOf],
      ['ENABLED', (h) => (h.enabled ? 'yes' : `no${h.disabledReason ? ` (${h.disabledReason})` : ''}`)],
      ['HYPERVISOR', (h) => h.hypervisor],
      ['QUARANTINED', (h) => h.quarantined],
    ]);

  host
    .command('list')
    .description('all hosts')
    .option('--json', 'as JSON')
    .action(async ({ json }) => {
      const hosts = (await ask('host-list')) as HostLine[];
      if (json) printJson(out, hosts);
      else show(hosts);
    });

  host
    .command('enroll')
    .argument('<name>', 'name of the host')
    .description('let a host in; its key is made here and never leaves')
    .option('--zone <zone>', 'availability zone', 'nova')
    .option('--out <file>', 'where its credentials go (default: NAME.creds)')
    .option('--json', 'as JSON')
    .action(async (name: string, { zone, out: given, json }) => {
      if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) throw invalid(`${name} is no host name`);
      const file: string = given ?? `${name}.creds`;
      const enrolled = await withNewKey(file, async (publicKey) => {
        const answer = (await ask('host-enroll', { name, availabilityZone: zone, publicKey })) as Enrolled;
        if (!answer.jwt) throw invalid('the scheduler signs no host keys: it was started without the account seed');
        return { ...answer, jwt: answer.jwt };
      });
      const { jwt: _, ...told } = enrolled;
      if (json) return printJson(out, { ...told, credentials: file });
      printLine(out, `host ${name} is enrolled; start its agent with`);
      printLine(out, `  OMNIVISOR_HOST_ID=${enrolled.hostId}`);
      printLine(out, `  OMNIVISOR_HOST_CREDS=${file}`);
    });

  const change = (verb: string, doc: string, reason: boolean) => {
    const command = host.command(verb).argument('<host>', 'name or id').description(doc).option('--json', 'as JSON');
    if (reason) command.option('--reason <text>', 'why');
    command.action(async (name: string, { json, reason: why }) => {
      const after = (await ask(`host-${verb}`, { host: name, ...(why ? { reason: why } : {}) })) as HostLine;
      if (json) return printJson(out, after);
      show([after]);
      if (after.note) printLine(out, after.note);
    });
  };
  change('enable', 'let it get new servers', false);
  change('disable', 'keep new servers away from it', true);
  change('fence', 'vouch that nothing runs on it any more; what was claimed of it is released', true);
  change('retire', 'it left for good; its key is refused from now on', false);

  /**
   * The host once its hypervisor has done what it was asked, or is out of reach. Who looks away changes nothing.
   * @throws DomainError `notFound` when the cloud no longer knows the host
   */
  const maintained = async (seen: HostLine): Promise<HostLine> => {
    let now = seen;
    for (let lost = 0; isAsked(now) && now.state === 'up'; ) {
      await sleep(LOOK);
      try {
        const found = ((await ask('host-list')) as HostLine[]).find(({ id }) => id === seen.id);
        if (!found) throw notFound(`host ${seen.name} is gone`);
        now = found;
        lost = 0;
      } catch (error) {
        lost += 1;
        if (!(error instanceof DomainError && error.kind === 'unavailable') || lost > PATIENCE) throw error;
      }
    }
    return now;
  };

  host
    .command('maintenance')
    .argument('<host>', 'name or id')
    .addArgument(new Argument('<how>', 'on or off').choices(['on', 'off']))
    .description('have its hypervisor move its guests to other members of its pool or cluster, or take guests again')
    .option('--reason <text>', 'why')
    .option('--no-wait', 'return at once; `host list` tells what becomes of it')
    .option('--json', 'as JSON')
    .action(async (name: string, how: 'on' | 'off', { json, reason, wait }) => {
      const asked = (await ask(`host-maintenance-${how}`, { host: name, ...(reason ? { reason } : {}) })) as HostLine;
      const waits = wait && isAsked(asked);
      if (waits && !json) printLine(out, `host ${asked.name} is ${maintenanceOf(asked)}; this may take hours`);
      const after = waits ? await maintained(asked) : asked;
      if (after.maintenance?.state === 'failed')
        throw conflict(`host ${after.name} is ${maintenanceOf(after)}: ${after.maintenance.error}`);
      if (waits && isAsked(after))
        throw conflict(
          `host ${after.name} is ${after.state}, and was ${maintenanceOf(after)}: that goes on when its agent is back; host list tells`,
        );
      if (json) return printJson(out, after);
      show([after]);
    });

  const quarantine = host.command('quarantine').description('guests with our mark that nothing asks for');
  const guests = (lines: readonly GuestLine[]) =>
    printTable(out, lines, [
      ['HOST', (g) => g.host],
      ['SERVER', (g) => g.serverId],
      ['ATTEMPT', (g) => g.attempt],
      ['VERDICT', (g) => g.verdict],
      ['REASON', (g) => g.reason],
    ]);
  quarantine
    .command('list')
    .option('--json', 'as JSON')
    .action(async ({ json }) => {
      const lines = (await ask('host-quarantine-list')) as GuestLine[];
      if (json) printJson(out, lines);
      else guests(lines);
    });
  for (const [verdict, doc] of [
    ['keep', 'leave it alone, and stop asking'],
    ['discard', 'let its host destroy it'],
  ] as const)
    quarantine
      .command(verdict)
      .argument('<host>', 'name or id')
      .argument('<server>', 'id of the server whose guest it is')
      .description(doc)
      .option(
        '--attempt <n>',
        'only the guest of this attempt, as listed: refused when another one is there by now',
        count,
      )
      .option('--json', 'as JSON')
      .action(async (name: string, serverId: string, { attempt, json }) => {
        const args = { host: name, serverId, ...(attempt === undefined ? {} : { attempt }) };
        const line = (await ask(`host-quarantine-${verdict}`, args)) as GuestLine;
        if (json) printJson(out, line);
        else guests([line]);
      });
};
