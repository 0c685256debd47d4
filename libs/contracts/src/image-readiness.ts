import { z } from 'zod';

/** Kinds of hypervisor with a driver of ours. */
export const HypervisorKind = z.enum(['qemu', 'xen', 'xenserver', 'vsphere', 'hyperv']);
export type HypervisorKind = z.infer<typeof HypervisorKind>;

export const ReadinessVerdict = z.enum([
  'boots',
  /** Its kernel has the drivers, the initial RAM disk does not: it has to be made anew. */
  'bootsAfterInjection',
  'cannot',
]);
export type ReadinessVerdict = z.infer<typeof ReadinessVerdict>;

/** A property of the image that decides whether it starts there. */
export const BootNeed = z.object({
  property: z.string(),
  /** Any of these lets it start. */
  values: z.array(z.string()),
  /** With one of these it surely does not; null stands for a property that is not set. */
  fails: z.array(z.string().nullable()),
});
export type BootNeed = z.infer<typeof BootNeed>;

/** A verdict and, unless it is plainly `boots`, a sentence for the user: what is missing and what to do about it. */
export const Readiness = z.object({
  verdict: ReadinessVerdict,
  reason: z.string().nullable(),
  needs: z.array(BootNeed).optional(),
});
export type Readiness = z.infer<typeof Readiness>;

/** By hypervisor; one that is missing is not known, which constrains nothing. */
export const ImageReadiness = z.partialRecord(HypervisorKind, Readiness);
export type ImageReadiness = z.infer<typeof ImageReadiness>;

/** What a look at the disk found. Null and empty mean not found. */
export const GuestFacts = z.object({
  partitions: z.enum(['gpt', 'mbr', 'none']),
  /** Ways the disk can start: code in its first sector, an EFI loader, one whose first stage carries a signature. */
  firmware: z.array(z.enum(['bios', 'uefi', 'secure-boot'])),
  fileSystems: z.array(z.string()),
  /** `ID` and `VERSION_ID` of os-release. */
  distribution: z.object({ id: z.string(), version: z.string().nullable() }).nullable(),
  kernel: z
    .object({
      release: z.string(),
      /** `xen` boots as a paravirtual guest of Xen and nowhere else. */
      boot: z.enum(['any', 'xen']),
    })
    .nullable(),
  /** Drivers that are there when the root disk is looked for: built in, or in the initial RAM disk. */
  bootDrivers: z.array(z.string()),
  /** Drivers that the root file system has besides. */
  otherDrivers: z.array(z.string()),
  /** Agents and integration services that were found. */
  agents: z.array(z.string()),
  /** Of a Windows; its drivers are above by the names of their services, and `otherDrivers` has those in its store, too. */
  windows: z
    .object({
      /** As its registry has it, e.g. `Windows Server 2022 Standard`. */
      product: z.string().nullable(),
      build: z.string().nullable(),
      /** How it was left: shut down, hibernated (as fast startup does, too), or with its file system open. */
      left: z.enum(['clean', 'hibernated', 'dirty']),
    })
    .optional(),
  /** Why nothing more is known. */
  unknown: z.string().nullable(),
});
export type GuestFacts = z.infer<typeof GuestFacts>;
