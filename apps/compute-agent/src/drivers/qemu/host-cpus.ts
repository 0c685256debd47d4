import type { ServerId } from '@omnivisor/contracts';
import { type HostInventory, HypervisorError } from '../hypervisor-driver.js';
import { type CpuSets, type CpuWishes, chooseCpus, refuseSets, sharedCpus } from './dedicated-cpus.js';
import type { GuestDefinition } from './definition.js';
import type { GuestStore } from './guest-store.js';
import { grantedCpus, machineCpus, usualCpus } from './machine-cpus.js';

/** Which processors of the machine are which guest's: the definitions of the guests are the only list there is. */
export class HostCpus {
  constructor(
    private readonly store: GuestStore,
    private readonly sets: CpuSets | undefined,
  ) {}

  /** @throws HypervisorError `unavailable` for sets that cannot be */
  async check(signal: AbortSignal): Promise<void> {
    if (!this.sets) return;
    const { dedicated, shared = [] } = this.sets;
    const there = machineCpus().map(({ cpu }) => cpu);
    const asked = [...dedicated, ...shared].filter((cpu) => there.includes(cpu));
    refuseSets(this.sets, await grantedCpus(asked, signal));
  }

  /** What the sets make of the machine's processors. */
  inventory(): Partial<HostInventory> {
    const shared = this.shared();
    return {
      ...(shared === null ? {} : { vcpus: shared.length }),
      ...(this.sets ? { dedicatedCpus: this.sets.dedicated.length } : {}),
    };
  }

  /** Processors for guests without CPUs of their own; null: all. */
  private shared(): readonly number[] | null {
    return sharedCpus(this.sets, usualCpus());
  }

  /** What was dedicated before the sets were changed stays with the guests that have it, until they start anew. */
  sharedNow(): readonly number[] | null {
    const owned = this.sets ? this.ofOthers(null) : new Set<number>();
    return this.shared()?.filter((cpu) => !owned.has(cpu)) ?? null;
  }

  /**
   * Processors for a guest that are its alone; null: it shares others. Whoever asks writes them down at once: until then
   * they are free.
   * @param kept what it has beside them, until its resize is settled
   * @throws HypervisorError `unsupported`, `noResources`
   */
  own(id: ServerId, spec: CpuWishes, kept: readonly number[] = []): number[] | null {
    const taken = new Set([...this.ofOthers(id), ...kept]);
    return chooseCpus(spec, this.sets?.dedicated ?? [], taken, machineCpus());
  }

  /** A guest that starts, with other CPUs where its own are not to be had any more. */
  renewed(guest: GuestDefinition): GuestDefinition {
    const { cpus, wishes, vcpus, mark } = guest;
    if (!cpus) return guest;
    const { serverId: id } = mark;
    const taken = this.ofOthers(id);
    const dedicated = this.sets?.dedicated ?? [];
    if (cpus.every((cpu) => dedicated.includes(cpu) && !taken.has(cpu))) return guest;
    const spec = { image: { properties: wishes.properties }, flavor: { vcpus, extraSpecs: wishes.extraSpecs } };
    const next = { ...guest, cpus: this.own(id, spec, guest.before?.cpus ?? []) };
    // Before anything runs on them.
    const written = this.store.read(id);
    if (written?.mark.cloudId === mark.cloudId) this.store.write({ ...written, cpus: next.cpus });
    return next;
  }

  /** Where a guest's process may run. @throws HypervisorError `noResources` */
  placeOf({ adopted, cpus }: GuestDefinition): readonly number[] | null {
    if (adopted) return null;
    const place = cpus ?? this.sharedNow();
    if (place?.length === 0)
      throw new HypervisorError('noResources', 'all CPUs of this host are dedicated (OMNIVISOR_CPU_DEDICATED_SET)');
    return place;
  }

  /** Also of guests that are off: they find their CPUs free when they start. */
  private ofOthers(id: ServerId | null): Set<number> {
    const others = this.store.ids().filter((other) => other !== id);
    return new Set(
      others.flatMap((other) => {
        const guest = this.store.read(other);
        return [...(guest?.cpus ?? []), ...(guest?.before?.cpus ?? [])];
      }),
    );
  }
}
