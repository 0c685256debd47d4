import { invalid } from '@omnivisor/contracts';
import type { Command } from 'commander';
import { printJson, printLine, printTable } from '../output.js';
import type { CommandContext } from './context.js';

interface GuestLine {
  readonly native_id: string;
  readonly name: string;
  readonly power_state: string;
  readonly vcpus: number;
  readonly memory_mb: number;
  readonly disks: readonly { readonly size: number }[];
  readonly nics: readonly { readonly mac: string; readonly network: string | null }[];
}

const APP = 'api-gateway';
const GIB = 1024 ** 3;
/** Milliseconds: the host is asked for its guests. */
const LONG = 40_000;

/** `MAC=network` or `MAC=network,address`. */
const portOf = (text: string) => {
  const [, mac, network, address] = /^([0-9A-Fa-f:]{17})=([0-9a-f-]{36})(?:,(.+))?$/.exec(text) ?? [];
  if (!mac || !network) throw invalid(`${text} is not MAC=network or MAC=network,address`);
  return { mac, network, ...(address ? { fixed_ip: address } : {}) };
};

/** Guests that are there already become servers, and are given back. */
export const adoptCommands = (program: Command, context: CommandContext): void => {
  const { out } = context;
  const ask = async (command: string, args: Record<string, unknown>) =>
    (await context.client()).ask(APP, command, args, LONG);

  program
    .command('adopt')
    .description('guests of a host that nobody manages; with --guest, makes one of them a server, without a restart')
    .requiredOption('--host <host>', 'name or id')
    .option('--guest <id>', 'its id in the list')
    .option('--project <id>', 'project that the server will belong to')
    .option('--flavor <id>', 'flavor with its vCPUs and memory and room for its disk; the smallest one without')
    .option('--name <name>', 'name of the server; that of the guest without')
    .option(
      '--port <MAC=network[,address]>',
      'an interface that becomes a port; may be repeated',
      (text: string, ports: object[]) => [...ports, portOf(text)],
      [] as object[],
    )
    .option('--json', 'as JSON')
    .action(async ({ host, guest, project, flavor, name, port, json }) => {
      if (guest !== undefined) {
        if (project === undefined) throw invalid('--project is missing: whose will the server be?');
        const adoption = {
          ...{ guest, project_id: project, ports: port },
          ...(flavor === undefined ? {} : { flavor }),
          ...(name === undefined ? {} : { name }),
        };
        const made = (await ask('guest-adopt', { host, adoption })) as { server: string };
        return json ? printJson(out, made) : printLine(out, `server ${made.server} is on its way`);
      }
      const guests = (await ask('guest-list', { host })) as GuestLine[];
      if (json) return printJson(out, guests);
      printTable(out, guests, [
        ['GUEST', (g) => g.native_id],
        ['NAME', (g) => g.name],
        ['POWER', (g) => g.power_state],
        ['VCPUS', (g) => g.vcpus],
        ['MIB', (g) => g.memory_mb],
        ['DISKS', (g) => g.disks.map(({ size }) => `${Math.ceil(size / GIB)} GiB`).join(', ')],
        ['INTERFACES', (g) => g.nics.map(({ mac, network }) => (network ? `${mac} on ${network}` : mac)).join(', ')],
      ]);
    });

  program
    .command('release')
    .argument('<server>', 'id of a server that was adopted')
    .description('give its guest back: it goes on as it is, and is no server any more')
    .option('--json', 'as JSON')
    .action(async (server: string, { json }) => {
      const released = await ask('guest-release', { server });
      if (json) printJson(out, released);
      else printLine(out, `the guest of server ${server} is given back`);
    });
};
