import { type HostInventory, HypervisorError } from '../hypervisor-driver.js';
import type { Guest, Guests } from './guests.js';
import { VmHost } from './host-facts.js';
import type { Members } from './members.js';
import type { ReadyNode } from './node.js';
import { storageOf } from './reach.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

const sumOf = (numbers: readonly number[]): number => numbers.reduce((sum, number) => sum + number, 0);

/** What the hosts have, and what of it is promised to guests. */
export class Capacity {
  constructor(
    private readonly members: Members,
    private readonly guests: Guests,
    private readonly reservedMemoryMib: number,
  ) {}

  /** Of those that answer. A disk that several have is there once. */
  async inventory(): Promise<HostInventory> {
    const { told } = await this.members.ask(async (on) => ({
      on,
      storage: this.members.areCluster ? await storageOf(on) : null,
      has: await this.of(on),
    }));
    const disks = new Map(told.map(({ on, storage, has }) => [storage ?? on, has.diskGib]));
    return {
      vcpus: sumOf(told.map(({ has }) => has.vcpus)),
      memoryMib: sumOf(told.map(({ has }) => has.memoryMib)),
      diskGib: sumOf([...disks.values()]),
    };
  }

  /** Of several hosts, the one with the most memory left. */
  async roomiest(): Promise<ReadyNode> {
    const { told } = await this.members.ask(async (on) => {
      if (!this.members.areCluster) return { on, free: 0 };
      return { on, free: (await this.of(on)).memoryMib - (await this.promised(on)) };
    });
    return told.reduce((best, host) => (host.free > best.free ? host : best)).on;
  }

  /**
   * @param instead a guest that gives its place up for this
   * @throws HypervisorError `noResources`
   */
  async refuseBeyond(
    on: ReadyNode,
    wanted: { vcpus: number; memory: number; disk: number },
    instead: Guest | null,
  ): Promise<void> {
    const { vcpus, memoryMib, freeBytes } = await this.of(on);
    const memory = (await this.promised(on)) - (instead?.mark.size.memory ?? 0) + wanted.memory;
    if (wanted.vcpus > vcpus) throw new HypervisorError('noResources', 'the host has too few processors');
    if (memory > memoryMib) throw new HypervisorError('noResources', 'the host has too little memory');
    if (wanted.disk * GIB > freeBytes) throw new HypervisorError('noResources', "the host's disk is too full");
  }

  private async of({ node, host }: ReadyNode): Promise<HostInventory & { readonly freeBytes: number }> {
    const [machine] = await host.get('Get-VMHost', {}, VmHost);
    const { TotalBytes, FreeBytes } = await node.facts();
    return {
      vcpus: machine!.LogicalProcessorCount,
      memoryMib: Math.max(0, Math.floor(machine!.MemoryCapacity / MIB) - this.reservedMemoryMib),
      diskGib: Math.floor(TotalBytes / GIB),
      freeBytes: FreeBytes,
    };
  }

  private async promised(on: ReadyNode): Promise<number> {
    return sumOf((await this.guests.on(on)).map((guest) => guest.mark.size.memory));
  }
}
