import { z } from 'zod';

/** What the host script tells of its host. */
export const HostFact = z.object({
  Product: z.string(),
  Build: z.number(),
  BootTime: z.string().nullable(),
  ComputerName: z.string(),
  DomainName: z.string().nullable(),
  Processors: z.array(z.string()),
  ManagementService: z.string().nullable(),
  Module: z.boolean(),
  Root: z.string(),
  FreeBytes: z.number(),
  TotalBytes: z.number(),
  DelegatesTo: z.array(z.string()),
});
export type HostFact = z.output<typeof HostFact>;

export const VmHost = z.object({
  LogicalProcessorCount: z.number(),
  MemoryCapacity: z.number(),
  VirtualMachineMigrationEnabled: z.boolean(),
  VirtualMachineMigrationAuthenticationType: z.string(),
});
export type VmHost = z.output<typeof VmHost>;

/** Builds of Windows Server: 2016, and all before it. */
export const OLDEST_BUILD = 14393;
