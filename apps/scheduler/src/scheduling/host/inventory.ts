import type { HostFacts, Inventory } from '@omnivisor/contracts';
import type { SchedulerSettings } from '../../core/settings.js';

const inventory = (total: number, reserved: number, allocationRatio: number): Inventory => ({
  total,
  reserved,
  minUnit: 1,
  maxUnit: total,
  stepSize: 1,
  allocationRatio,
});

/** What a host offers, from the facts its agent reported. A resource it has none of is not offered. */
export const inventoriesOf = (facts: HostFacts, settings: SchedulerSettings): Record<string, Inventory> => {
  const reserved = Math.min(settings.reservedHostMemoryMib, Math.floor(facts.memoryMib / 10));
  const all: Record<string, Inventory> = {
    VCPU: inventory(facts.vcpus, 0, settings.cpuAllocationRatio),
    PCPU: inventory(facts.dedicatedCpus ?? 0, 0, 1),
    MEMORY_MB: inventory(facts.memoryMib, reserved, settings.ramAllocationRatio),
    DISK_GB: inventory(facts.diskGib, 0, settings.diskAllocationRatio),
  };
  return Object.fromEntries(Object.entries(all).filter(([, i]) => i.total > 0));
};
