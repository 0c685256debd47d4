import { type HostInventory, HypervisorError } from '../hypervisor-driver.js';
import type { Guest, Guests } from './guests.js';
import { VmHost } from './host-facts.js';
import type { Members } from './members.js';
import type { ReadyNode } from './node.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

/** What the hosts have, and what of it is promised to guests. */
export class Capacity {
  constructor(
    private readonly members: Members,
    private readonly guests: Guests,
    private readonly reservedMemoryMib: number,
  ) {}

  /** Of those that answer. */
  async inventory(): Promise<HostInventory> {
    const { told } = await this.members.ask((on) => this.of(on));
    const sum = (key: 'vcpus' | 'memoryMib' | 'diskGib') => told.reduce((total, host) => total + host[key], 0);
    return { vcpus: sum('vcpus'), memoryMib: sum('memoryMib'), diskGib: sum('diskGib') };
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
    const { vcpus, memoryMib } = await this.of(on);
    const { FreeBytes } = await on.node.facts();
    const memory = (await this.promised(on)) - (instead?.mark.size.memory ?? 0) + wanted.memory;
    if (wanted.vcpus > vcpus) throw new HypervisorError('noResources', 'the host has too few processors');
    if (memory > memoryMib) throw new HypervisorError('noResources', 'the host has too little memory');
    if (wanted.disk * GIB > FreeBytes) throw new HypervisorError('noResources', "the host's disk is too full");
  }

  private async of({ node, host }: ReadyNode): Promise<HostInventory> {
    const [machine] = await host.get('Get-VMHost', {}, VmHost);
    const { TotalBytes } = await node.facts();
    return {
      vcpus: machine!.LogicalProcessorCount,
      memoryMib: Math.max(0, Math.floor(machine!.MemoryCapacity / MIB) - this.reservedMemoryMib),
      diskGib: Math.floor(TotalBytes / GIB),
    };
  }

  private async promised(on: ReadyNode): Promise<number> {
    return (await this.guests.on(on)).reduce((sum, guest) => sum + guest.mark.size.memory, 0);
  }
}
