import { z } from 'zod';

/** What the host script tells of its host. */
export const HostFact = z.object({
  Product: z.string(),
  Build: z.number(),
  ComputerName: z.string(),
  DomainName: z.string().nullable(),
  Processors: z.array(z.string()),
  Module: z.boolean(),
  Root: z.string(),
  /** Of the volume that the folder lies on. */
  FreeBytes: z.number(),
  TotalBytes: z.number(),
  /** Services that it may reach in the name of whoever speaks to it; null: the directory did not tell. */
  DelegatesTo: z.array(z.string()).nullable(),
  /** Why WMI of Hyper-V does not answer; null when it does. */
  WmiError: z.string().nullable(),
});
export type HostFact = z.output<typeof HostFact>;

export const VmHost = z.object({
  LogicalProcessorCount: z.number(),
  MemoryCapacity: z.number(),
  VirtualMachineMigrationEnabled: z.boolean(),
  VirtualMachineMigrationAuthenticationType: z.string(),
});
export type VmHost = z.output<typeof VmHost>;

/** As service principal names call it. */
export const MIGRATION_SERVICE = 'Microsoft Virtual System Migration Service';

/** Builds of Windows Server: 2016, and all before it. */
export const OLDEST_BUILD = 14393;
