import { symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { mib, type ServerId } from '@omnivisor/contracts';
import {
  type Adoption,
  type ForeignGuest,
  type GuestMark,
  type GuestNic,
  HypervisorError,
} from '../../hypervisor-driver.js';
import type { GuestDefinition, Size } from '../definition.js';
import { FILES } from '../files.js';
import { commandOf, processes, startOf, userOf, workFolderOf } from '../processes.js';
import type { QemuHost } from '../qemu-host.js';
import { QmpClient } from '../qmp-client.js';

/** Names that guests of ours, and of other clouds of our kind, have. */
const MARKED = /^guest=[^/]+\/[0-9a-f-]{36}\/\d+$/;
const PATIENCE = 1_000;

interface Found {
  readonly pid: number;
  readonly command: readonly string[];
  readonly folder: string;
  readonly socket: string;
}

const nativeIdOf = ({ pid }: Found): string => `${pid}@${startOf(pid)}`;

/** QEMU processes that are nobody's of our kind and let themselves be driven: they have a control socket. */
const strangers = (): Found[] =>
  processes().flatMap((pid) => {
    const command = commandOf(pid);
    const folder = workFolderOf(pid);
    if (!/(^|\/)qemu-system-[a-z0-9_]+$/.test(command[0] ?? '') || folder === null) return [];
    if (command.some((argument) => MARKED.test(argument))) return [];
    const at = command.findIndex((argument, i) => command[i - 1] === '-qmp' && argument.startsWith('unix:'));
    const socket = at < 0 ? undefined : command[at]!.slice('unix:'.length).split(',')[0];
    return socket ? [{ pid, command, folder, socket: resolve(folder, socket) }] : [];
  });

interface Facts {
  readonly guest: ForeignGuest;
  readonly name: string;
  readonly machine: string;
}

/** What a stranger says of itself; null when somebody else is talking to it. */
const ask = async (found: Found): Promise<Facts | null> => {
  const qmp = await QmpClient.connect(found.socket, PATIENCE).catch(() => null);
  if (!qmp) return null;
  try {
    const { name = '' } = await qmp.call<{ name?: string }>('query-name');
    const { status } = await qmp.call<{ status: string }>('query-status');
    const cpus = await qmp.call<unknown[]>('query-cpus-fast');
    const memory = await qmp.call<{ 'base-memory': number }>('query-memory-size-summary');
    type Block = { device: string; qdev?: string; inserted?: { image: { 'virtual-size': number } } };
    const blocks = await qmp.call<Block[]>('query-block');
    const filters = await qmp.call<{ name: string; 'main-mac': string }[]>('query-rx-filter');
    const machine = await qmp.call<string>('qom-get', { path: '/machine', property: 'type' });
    const disks = blocks.flatMap(({ device, qdev, inserted }) =>
      inserted ? [{ name: qdev ?? device, size: inserted.image['virtual-size'] }] : [],
    );
    const guest: ForeignGuest = {
      nativeId: nativeIdOf(found),
      name: name || `process ${found.pid}`,
      power: status === 'running' ? 'running' : status === 'shutdown' ? 'shutdown' : 'paused',
      vcpus: cpus.length,
      memory: mib(Math.floor(memory['base-memory'] / 1024 ** 2)),
      disks,
      nics: filters.map((filter) => ({ mac: filter['main-mac'], network: null })),
    };
    return { guest, name, machine: machine.replace(/-machine$/, '') };
  } catch {
    return null;
  } finally {
    qmp.close();
  }
};

/** Of an adopted guest we know how it is started, and no more: what we would start it with is its own command. */
const definition = (found: Found, { guest, name, machine }: Facts, mark: GuestMark, nics: readonly GuestNic[]) =>
  ({
    ...({
      vcpus: guest.vcpus,
      memoryMib: guest.memory,
      topology: { sockets: guest.vcpus, cores: 1, threads: 1 },
      hugePages: null,
      limits: {},
    } satisfies Size),
    machine,
    firmware: 'bios',
    diskBus: 'virtio',
    scsiController: 'virtio-scsi-pci',
    cdromBus: 'ide',
    nicModel: 'virtio-net-pci',
    video: null,
    tablet: false,
    watchdog: null,
    tpm: null,
    hasAgent: false,
    mark: { ...mark },
    name: guest.name,
    phase: 'spawned',
    change: null,
    suspended: false,
    disks: [],
    attached: [],
    cdroms: [],
    nics: [],
    directBoot: null,
    rescue: null,
    before: null,
    shared: false,
    wishes: { properties: {}, extraSpecs: {} },
    adopted: {
      nativeId: nativeIdOf(found),
      command: [...found.command],
      folder: found.folder,
      user: userOf(found.pid),
      name,
      ports: nics.map(({ portId, mac }) => ({ portId, mac })),
    },
  }) satisfies GuestDefinition;

export const adoptionOf = (host: QemuHost): Adoption => {
  const take = async (nativeId: string, mark: GuestMark, nics: readonly GuestNic[]): Promise<GuestDefinition> => {
    const { serverId: id } = mark;
    const there = host.read(id);
    if (there?.adopted?.nativeId === nativeId) return there;
    const found = strangers().find((stranger) => nativeIdOf(stranger) === nativeId);
    const isFree = !there && !host.store.ids().includes(id) && mark.cloudId === host.options.cloudId;
    const facts = found && isFree && !isTaken(host, found) ? await ask(found) : null;
    if (!found || !facts) throw new HypervisorError('fault', 'there is no such guest to adopt');
    const guest = definition(found, facts, mark, nics);
    host.store.create(guest, (folder) => {
      writeFileSync(join(folder, FILES.pid), `${found.pid}`, { mode: 0o600 });
      symlinkSync(found.socket, join(folder, FILES.qmp));
    });
    host.store.noteStarted(id);
    return guest;
  };

  return {
    candidates: async () => {
      const free = strangers().filter((stranger) => !isTaken(host, stranger));
      const asked = await Promise.all(free.map(ask));
      return asked.flatMap((facts) => (facts ? [facts.guest] : []));
    },
    adopt: (nativeId, mark, nics) => host.alone(mark.serverId, async () => host.look(await take(nativeId, mark, nics))),
    release: (id: ServerId) =>
      host.alone(id, async () => {
        const guest = host.read(id);
        if (!guest) return;
        if (!guest.adopted) throw new HypervisorError('fault', 'the guest was not adopted');
        host.live(id).disconnect();
        host.store.remove(id);
      }),
  };
};

const isSameCommand = ({ adopted }: GuestDefinition, found: Found): boolean =>
  adopted !== null && adopted.folder === found.folder && adopted.command.join('\0') === found.command.join('\0');

const isTaken = (host: QemuHost, found: Found): boolean =>
  host.store.ids().some((id) => {
    const guest = host.store.read(id);
    return guest !== null && isSameCommand(guest, found);
  });
