import { mib, type ServerId } from '@omnivisor/contracts';
import { type FoundGuest, HypervisorError } from '../hypervisor-driver.js';
import { guestMark, type Mark, readMark, writeMark } from './mark.js';
import { type FileStage, isIncoming, type MarkFiles } from './mark-files.js';
import type { HyperVNode, ReadyNode } from './node.js';
import { type Machine, powerOf } from './operations/machines.js';

const MIB = 1024 ** 2;

/** A machine that carries our mark, on the host where it is now. */
export interface Guest {
  readonly on: ReadyNode;
  readonly vm: Machine;
  readonly mark: Mark;
}

export const isOn = ({ vm }: Guest): boolean => !['shutdown', 'suspended'].includes(powerOf(vm.State));

/** The guests of one cloud on one or several hosts, found by their marks: a cluster may move them any time. */
export class Guests {
  /** Where each was last: only to look there first. */
  private readonly seen = new Map<ServerId, { node: HyperVNode; vmId: string }>();

  constructor(
    private readonly nodes: readonly HyperVNode[],
    private readonly cloudId: string,
  ) {}

  /** @throws HypervisorError `serverNotOnHost`; `unavailable` when a host that may have it does not answer */
  async get(id: ServerId): Promise<Guest> {
    const guest = await this.find(id);
    if (!guest) throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    return guest;
  }

  async find(id: ServerId): Promise<Guest | null> {
    const last = this.seen.get(id);
    if (last) {
      const on = await last.node.ready();
      const vm = await on.machines.byId(last.vmId);
      const guest = vm && this.ours(on, vm);
      if (guest?.mark.serverId === id) return guest;
      this.seen.delete(id);
    }
    for (const node of this.nodes) {
      const on = await node.ready();
      // Ours are named after their server; those that were adopted are not.
      for (const vm of [...(await on.machines.named(id)), ...(await on.machines.all())]) {
        const guest = this.ours(on, vm);
        if (guest?.mark.serverId === id) return guest;
      }
    }
    return null;
  }

  async all(): Promise<Guest[]> {
    const found = await Promise.all(
      this.nodes.map(async (node) => {
        const on = await node.ready();
        return (await on.machines.all()).flatMap((vm) => this.ours(on, vm) ?? []);
      }),
    );
    return found.flat();
  }

  /** The server that a machine stands for, if it is one of ours. */
  async serverOf(node: HyperVNode, vmId: string): Promise<ServerId | null> {
    for (const [id, seen] of this.seen) if (seen.vmId.toLowerCase() === vmId) return id;
    const on = await node.ready();
    const vm = await on.machines.byId(vmId);
    return (vm && this.ours(on, vm)?.mark.serverId) ?? null;
  }

  known(): ServerId[] {
    return [...this.seen.keys()];
  }

  /** Machines without our mark that stand where a spawn of this server would put one. */
  async halfMade(on: ReadyNode, id: ServerId): Promise<Machine[]> {
    const folder = on.paths.guest(id).toLowerCase();
    return (await on.machines.named(id)).filter((vm) => !this.ours(on, vm) && vm.Path.toLowerCase().startsWith(folder));
  }

  async write({ on, vm }: Guest, mark: Mark): Promise<Guest> {
    const Notes = writeMark(mark, vm.Notes);
    await on.machines.setNotes(vm.Id, Notes);
    return { on, vm: { ...vm, Notes }, mark };
  }

  forget(id: ServerId): void {
    this.seen.delete(id);
  }

  private ours(on: ReadyNode, vm: Machine): Guest | null {
    const mark = readMark(vm.Notes);
    if (mark?.cloudId !== this.cloudId) return null;
    this.seen.set(mark.serverId, { node: on.node, vmId: vm.Id });
    return { on, vm, mark };
  }
}

/** @param file what the mark file of this host says beside the machine's own notes, which are still those of its source */
export const asFound = async ({ on, vm, mark }: Guest, file: FileStage | undefined): Promise<FoundGuest> => {
  const ordered = file && isIncoming(file) ? await on.marks.read(mark.serverId, file, mark.cloudId) : null;
  const waits = mark.stage === 'building' || ordered;
  return {
    mark: ordered ?? guestMark(mark),
    stage: ordered ? 'incoming' : mark.stage,
    power: waits ? 'noState' : powerOf(vm.State),
    memory: mib(Math.round((vm.DynamicMemoryEnabled ? vm.MemoryMaximum : vm.MemoryStartup) / MIB)),
    vcpus: vm.ProcessorCount,
  };
};

/** Servers that have no machine here: half made, expected from another host, or sent there. */
export const asFoundFile = async (
  marks: MarkFiles,
  id: ServerId,
  file: FileStage,
  cloudId: string,
): Promise<FoundGuest | null> => {
  // Settled, and no machine: somebody removed it, and it is missing.
  if (file === 'settled') return null;
  const mark = await marks.read(id, file, cloudId);
  const stage = file === 'building' ? file : isIncoming(file) ? 'incoming' : 'moved';
  return mark && { mark, stage, power: 'noState', memory: mib(0), vcpus: 0 };
};
