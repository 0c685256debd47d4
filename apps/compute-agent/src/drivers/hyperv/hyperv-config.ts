import { count } from '@omnivisor/platform';
import { z } from 'zod';
import { localProcess, sshProcess } from './host-processes.js';
import type { HyperVDriverOptions } from './hyperv.driver.js';
import type { NodeOptions } from './node.js';

const list = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);

const TARGET = /^(?:([^@\s]+)@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::(\d+))?$/;

/** Environment of an agent that drives Hyper-V. */
export const HyperVSettings = z.object({
  /** `local`, or `user@host` with `:port`, by ssh; the members of one failover cluster with commas. */
  OMNIVISOR_HYPERV_HOSTS: z
    .string()
    .default(process.platform === 'win32' ? 'local' : '')
    .transform(list)
    .pipe(z.array(z.string().regex(TARGET, 'is not local or user@host:port'))),
  /** Private key and known hosts of ssh. */
  OMNIVISOR_HYPERV_KEY: z.string().default('/etc/omnivisor/hyperv_key'),
  OMNIVISOR_HYPERV_KNOWN_HOSTS: z.string().default('/etc/omnivisor/hyperv_known_hosts'),
  /** Where the host script lies on each host. */
  OMNIVISOR_HYPERV_SCRIPT: z
    .string()
    .default('C:\\ProgramData\\Omnivisor\\omnivisor-host.ps1')
    .refine((path) => /^[A-Za-z]:\\[\w.\\-]+\.ps1$/.test(path), 'is not a path without spaces to a .ps1'),
  /** Folder of guests and images on each host; what the script was told there, else C:\ProgramData\Omnivisor. */
  OMNIVISOR_HYPERV_ROOT: z
    .string()
    .regex(/^[A-Za-z]:\\[\w.\\-]+$/, 'is not a path without spaces')
    .optional(),
  /** Physical networks and the virtual switches they are, `physnet1=External,…`. */
  OMNIVISOR_HYPERV_SWITCHES: z
    .string()
    .default('')
    .transform((text, context) => {
      const pairs = list(text).map((pair) => pair.split('='));
      if (pairs.some((pair) => pair.length !== 2 || pair.includes('')))
        context.addIssue({ code: 'custom', message: 'is not physical-network=switch,…' });
      return Object.fromEntries(pairs as [string, string][]);
    }),
  /** Hosts that guests may be sent to by Kerberos delegation, with commas, where the directory does not tell it. */
  OMNIVISOR_HYPERV_DELEGATES_TO: z.string().default('').transform(list),
  /** Generation of guests whose image does not say. */
  OMNIVISOR_HYPERV_GENERATION: z.enum(['1', '2']).default('1'),
  /** A guest starts with memory divided by this and gets the rest when it asks; 1: all from the start. */
  OMNIVISOR_HYPERV_MEMORY_RATIO: z.coerce.number().min(1).max(16).default(1),
  /** MiB that a host keeps for itself. */
  OMNIVISOR_HYPERV_RESERVED_MIB: count.default(2048),
});
export type HyperVSettings = z.output<typeof HyperVSettings>;

const nodeOf = (target: string, settings: HyperVSettings): NodeOptions => {
  const delegatesTo = settings.OMNIVISOR_HYPERV_DELEGATES_TO;
  const stated = delegatesTo.length > 0 ? { delegatesTo } : {};
  const script = { script: settings.OMNIVISOR_HYPERV_SCRIPT, root: settings.OMNIVISOR_HYPERV_ROOT };
  if (target === 'local') return { name: 'local', ...stated, open: localProcess(script) };
  const [, user = 'omnivisor', host = '', port = '22'] = TARGET.exec(target) ?? [];
  return {
    name: host,
    consoleHost: host,
    ...stated,
    open: sshProcess({
      user,
      host: host.replace(/[[\]]/g, ''),
      port: Number(port),
      identityFile: settings.OMNIVISOR_HYPERV_KEY,
      knownHostsFile: settings.OMNIVISOR_HYPERV_KNOWN_HOSTS,
      ...script,
    }),
  };
};

export const hypervOptions = (settings: HyperVSettings, cloudId: string): HyperVDriverOptions => ({
  cloudId,
  nodes: settings.OMNIVISOR_HYPERV_HOSTS.map((target) => nodeOf(target, settings)),
  switches: settings.OMNIVISOR_HYPERV_SWITCHES,
  generation: settings.OMNIVISOR_HYPERV_GENERATION === '1' ? 1 : 2,
  dynamicMemoryRatio: settings.OMNIVISOR_HYPERV_MEMORY_RATIO,
  reservedMemoryMib: settings.OMNIVISOR_HYPERV_RESERVED_MIB,
});
