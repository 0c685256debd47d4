import { mib, type ServerId } from '@omnivisor/contracts';
import { type FoundGuest, HypervisorError } from '../hypervisor-driver.js';
import { guestMark, type Mark, readMark, writeMark } from './mark.js';
import { type FileStage, isIncoming, type MarkFiles } from './mark-files.js';
import type { MemberMarks } from './member-marks.js';
import type { Members } from './members.js';
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
  /** Settled guests that all members answered not to have, and when that was first; by `performance.now()`. */
  private readonly absent = new Map<ServerId, number>();

  constructor(
    private readonly members: Members,
    private readonly marks: MemberMarks,
    private readonly cloudId: string,
  ) {}

  /** As `find`. @throws HypervisorError `serverNotOnHost` */
  async get(id: ServerId): Promise<Guest> {
    const guest = await this.find(id);
    if (!guest) throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    return guest;
  }

  /** @throws HypervisorError `unavailable` when a host that may have it does not answer, or the cluster may be moving it */
  async find(id: ServerId): Promise<Guest | null> {
    const last = this.seen.get(id);
    const there = last && (await this.members.askOne(last.node, (on) => this.byId(on, last.vmId)));
    if (there?.told?.mark.serverId === id) {
      this.see(there.told);
      return there.told;
    }
    const { told, silent } = await this.members.ask((on) => this.at(on, id));
    const [guest] = oneEach(told.flatMap((found) => found ?? []));
    if (guest) this.see(guest);
    else if (silent.length > 0) await this.refuseUnknown(id);
    else await this.refuseMoving(id);
    return guest ?? null;
  }

  /** On this host alone. */
  async at(on: ReadyNode, id: ServerId): Promise<Guest | null> {
    // Ours are named after their server; those that were adopted are not.
    for (const find of [() => on.machines.named(id), () => on.machines.all()])
      for (const vm of await find()) {
        const guest = this.ours(on, vm);
        if (guest?.mark.serverId === id) return guest;
      }
    return null;
  }

  async on(on: ReadyNode): Promise<Guest[]> {
    return (await on.machines.all()).flatMap((vm) => this.ours(on, vm) ?? []);
  }

  /**
   * @returns `silent`: members that do not answer; what is on them is not among the guests, nor is what the cluster moves
   */
  async all(): Promise<{ guests: Guest[]; silent: readonly HyperVNode[] }> {
    const { told, silent } = await this.members.ask((on) => this.on(on));
    const guests = oneEach(told.flat());
    for (const guest of guests) this.see(guest);
    if (silent.length > 0) this.absent.clear();
    return { guests, silent };
  }

  /**
   * What became of a settled guest that no member has now. The cluster takes one off a member before another gets it, so it
   * is gone only once that has been so for a while, at two looks at least.
   */
  lookedForInVain(id: ServerId): 'maybe moving' | 'gone' {
    if (!this.members.areCluster) return 'gone';
    const now = performance.now();
    const since = this.absent.get(id) ?? now;
    this.absent.set(id, since);
    return now - since < this.members.times.movesWithin ? 'maybe moving' : 'gone';
  }

  /** The server that a machine stands for, if it is one of ours. */
  async serverOf(node: HyperVNode, vmId: string): Promise<ServerId | null> {
    for (const [id, seen] of this.seen) if (seen.vmId.toLowerCase() === vmId) return id;
    return (await this.byId(await node.ready(), vmId))?.mark.serverId ?? null;
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
    this.absent.delete(id);
  }

  /**
   * A guest that no member has which answers is absent only when no other can have it: its mark file is there before it
   * is, and as long.
   */
  private async refuseUnknown(id: ServerId): Promise<void> {
    this.absent.clear();
    const known = (await this.marks.all()).get(id);
    // What is half made is not the cluster's to move.
    const isHalfMadeHere = known?.file === 'building' && known.on !== null;
    if (!isHalfMadeHere && (known || this.seen.has(id)))
      throw new HypervisorError('unavailable', 'a member of the cluster that may have the guest does not answer');
  }

  private async refuseMoving(id: ServerId): Promise<void> {
    const isSettled = this.members.areCluster && (await this.marks.all()).get(id)?.file === 'settled';
    if (!isSettled) this.forget(id);
    else if (this.lookedForInVain(id) === 'maybe moving')
      throw new HypervisorError('unavailable', 'no member of the cluster has the guest now, which may be on its way');
    else this.seen.delete(id);
  }

  private async byId(on: ReadyNode, vmId: string): Promise<Guest | null> {
    const vm = await on.machines.byId(vmId);
    return vm && this.ours(on, vm);
  }

  private ours(on: ReadyNode, vm: Machine): Guest | null {
    const mark = readMark(vm.Notes);
    return mark?.cloudId === this.cloudId ? { on, vm, mark } : null;
  }

  private see({ on, vm, mark }: Guest): void {
    this.seen.set(mark.serverId, { node: on.node, vmId: vm.Id });
    this.absent.delete(mark.serverId);
  }
}

/** A member that was away may have kept a machine that the cluster has started on another: the one that runs counts. */
const oneEach = (guests: readonly Guest[]): Guest[] => {
  const each = new Map<ServerId, Guest>();
  for (const guest of guests) {
    const other = each.get(guest.mark.serverId);
    if (!other || (isOn(guest) && !isOn(other))) each.set(guest.mark.serverId, guest);
  }
  return [...each.values()];
};

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

/**
 * Servers that have no machine here: half made, expected from another host, or sent there.
 * @param mayBeElsewhere a member that may have its machine does not answer, or its machine may be on its way
 */
export const asFoundFile = async (
  marks: MarkFiles,
  id: ServerId,
  file: FileStage,
  cloudId: string,
  mayBeElsewhere = false,
): Promise<FoundGuest | null> => {
  // Settled, and no machine anywhere: somebody removed it, and it is missing.
  if (file === 'settled' && !mayBeElsewhere) return null;
  const mark = await marks.read(id, file, cloudId);
  const stage = file === 'building' || file === 'settled' ? file : isIncoming(file) ? 'incoming' : 'moved';
  return mark && { mark, stage, power: 'noState', memory: mib(0), vcpus: 0 };
};
