import { readFileSync } from 'node:fs';
import { mib } from '@omnivisor/contracts';
import { asHypervisorError, run } from '../../common/native-command.js';
import { connectUnix } from '../../common/unix-socket.js';
import {
  type ConsoleLog,
  type Consoles,
  type GuestAgent,
  HypervisorError,
  type Statistics,
  type TrafficCounters,
} from '../../hypervisor-driver.js';
import { attachedName } from '../blocks.js';
import { consoleTail } from '../console-file.js';
import type { GuestDefinition, Nic } from '../definition.js';
import { FILES } from '../files.js';
import { withAgent } from '../guest-agent.js';
import { findProcess } from '../guest-process.js';
import { startOf, statFields } from '../processes.js';
import type { QemuHost } from '../qemu-host.js';
import type { QmpClient } from '../qmp-client.js';

export const consoleLogOf = (host: QemuHost): ConsoleLog => ({
  tail: async (id, maxBytes) => {
    host.definition(id);
    try {
      return consoleTail(host.store.path(id, FILES.console), maxBytes);
    } catch (error) {
      throw asHypervisorError(error, 'reading the console log');
    }
  },
});

export const consolesOf = (host: QemuHost): Consoles => ({
  kinds: new Set(['vnc', 'serial']),
  open: async (id, kind) => {
    const guest = host.definition(id);
    if ((await host.state(guest)) === 'gone') throw new HypervisorError('unavailable', 'the guest is off');
    const socket = await connectUnix(host.store.path(id, FILES[kind])).catch((error: unknown) => {
      const { message } = error as Error;
      throw new HypervisorError('unavailable', 'the console does not answer', message, { cause: error });
    });
    socket.on('error', () => socket.destroy());
    return { readable: socket, writable: socket, close: () => void socket.destroy() };
  },
});

interface BlockStatistics {
  readonly device?: string;
  readonly qdev?: string;
  readonly 'node-name'?: string;
  readonly stats: Readonly<
    Record<
      'rd_bytes' | 'rd_operations' | 'wr_bytes' | 'wr_operations' | 'failed_rd_operations' | 'failed_wr_operations',
      number
    >
  >;
}

const TICKS_PER_SECOND = 100;

export const statisticsOf = (host: QemuHost): Statistics => ({
  read: async (id) => {
    const guest = host.definition(id);
    const state = await host.state(guest);
    const pid = findProcess(host.store.path(id), guest);
    if (state === 'gone' || state === 'shutdown' || pid === null || guest.phase !== 'spawned')
      throw new HypervisorError('fault', 'a guest that is off counts nothing');
    const qmp = await host.qmp(guest);
    const cpus = await qmp.call<{ 'cpu-index': number; 'thread-id': number }[]>('query-cpus-fast');
    const blocks = await qmp.call<BlockStatistics[]>('query-blockstats');
    return {
      uptime: uptime(pid),
      cpus: cpus.map((cpu) => ({ time: threadTime(pid, cpu['thread-id']) })),
      memory: { maximum: mib(guest.memoryMib), used: mib(await usedMemory(qmp, pid, guest)) },
      nics: guest.adopted
        ? guest.adopted.ports.map((port) => ({ ...port, received: null, sent: null }))
        : await Promise.all(guest.nics.map(traffic)),
      disks: blocks.flatMap((block) => {
        const disk = guest.adopted ? (block.qdev ?? block.device ?? null) : diskOf(guest, block['node-name'] ?? '');
        if (disk === null) return [];
        const { stats } = block;
        return [
          {
            disk,
            readBytes: stats.rd_bytes,
            readRequests: stats.rd_operations,
            writeBytes: stats.wr_bytes,
            writeRequests: stats.wr_operations,
            errors: stats.failed_rd_operations + stats.failed_wr_operations,
          },
        ];
      }),
    };
  },
});

/** The name of a disk as callers know it. */
const diskOf = (guest: GuestDefinition, node: string): string | null => {
  if (guest.disks.some(({ name }) => name === node) || node === 'rescue') return node;
  if (/^cd\d$/.test(node)) return (guest.rescue?.cdroms ?? guest.cdroms)[Number(node[2])]?.boot ? 'image' : 'config';
  return guest.attached.find((disk) => attachedName(disk) === node)?.diskId ?? null;
};

const threadTime = (pid: number, thread: number): number => {
  const [user, system] = statFields(pid, thread).slice(11, 13).map(Number);
  return Math.round(((user! + system!) * 1e9) / TICKS_PER_SECOND);
};

const uptime = (pid: number): number => {
  const now = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  return Math.max(0, Math.floor(now - Number(startOf(pid)) / TICKS_PER_SECOND));
};

const MIB = 1024 ** 2;

/**
 * What the guest itself says by its balloon driver; of one that has none, what it has touched: what its process holds, but
 * no more than the guest can have. MiB.
 */
const usedMemory = async (
  qmp: QmpClient,
  pid: number,
  { memoryMib: most, adopted }: GuestDefinition,
): Promise<number> => {
  interface Balloon {
    readonly 'last-update': number;
    readonly stats: { readonly 'stat-total-memory': number; readonly 'stat-available-memory': number };
  }
  const path = '/machine/peripheral/balloon0';
  if (!adopted) {
    const told = await qmp.call<Balloon>('qom-get', { path, property: 'guest-stats' });
    const { 'stat-total-memory': total, 'stat-available-memory': available } = told.stats;
    if (told['last-update'] > 0 && total > available) return Math.floor((total - available) / MIB);
  }
  const kib = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  return Math.min(Math.floor(kib / 1024), most);
};

type Counters = Readonly<Record<'bytes' | 'packets' | 'errors' | 'dropped', number>>;
const counted = ({ bytes, packets, errors, dropped }: Counters): TrafficCounters => ({
  bytes,
  packets,
  errors,
  drops: dropped,
});

/** What goes out of the host's device is what the guest receives. */
const traffic = async ({ portId, mac, netns, tap }: Nic) => {
  const at = netns === null ? [] : ['-n', netns];
  const text = await run('ip', [...at, '-s', '-j', 'link', 'show', 'dev', tap]);
  const { rx, tx } = JSON.parse(text)[0].stats64 as { rx: Counters; tx: Counters };
  return { portId, mac, received: counted(tx), sent: counted(rx) };
};

interface OsInfo {
  readonly 'pretty-name'?: string;
}

export const guestAgentOf = (host: QemuHost): GuestAgent => {
  const ask = async (id: Parameters<GuestAgent['info']>[0]) => {
    const guest = host.definition(id);
    if (!guest.hasAgent) throw new HypervisorError('unsupported', 'the image of the guest has no guest agent');
    const state = await host.state(guest);
    if (state !== 'running') throw new HypervisorError('fault', 'only a guest that runs can be asked');
    return guest;
  };
  return {
    info: async (id) =>
      withAgent(host, await ask(id), host.answerTimeout, async (agent) => {
        const optional = <T>(command: string) => agent.call<T>(command).catch(() => null);
        const { version } = await agent.call<{ version: string }>('guest-info');
        const name = await optional<{ 'host-name': string }>('guest-get-host-name');
        const os = await optional<OsInfo>('guest-get-osinfo');
        return { version, hostname: name?.['host-name'] ?? null, operatingSystem: os?.['pretty-name'] ?? null };
      }),
    setPassword: async (id, user, password) =>
      withAgent(host, await ask(id), host.answerTimeout, async (agent) => {
        const text = Buffer.from(password).toString('base64');
        await agent.call('guest-set-user-password', { username: user, password: text, crypted: false });
      }),
  };
};
