interface FeatureFacts {
  /** What a host with the feature carries in Placement: the name of os-traits where it has one. */
  readonly trait: string;
  /** For the support matrix. */
  readonly title: string;
  /** Rows of Nova's support matrix that it answers. */
  readonly nova: readonly string[];
  /** Drivers have it and nothing in the API leads to it yet: no host has the trait, so that nothing is placed by it. */
  readonly isUnreached?: true;
}

/**
 * What not every hypervisor can do. A feature is an optional member of the driver interface, or one kind of it
 * (`member.kind`); an action that needs one is refused with 501 when the server's host lacks its trait.
 */
export const features = {
  pausing: {
    trait: 'CUSTOM_OMNIVISOR_PAUSE',
    title: 'Pause and unpause',
    nova: ['operation.pause', 'operation.unpause'],
  },
  suspending: {
    trait: 'CUSTOM_OMNIVISOR_SUSPEND',
    title: 'Suspend to disk and resume',
    nova: ['operation.suspend', 'operation.resume'],
  },
  rebuilding: { trait: 'CUSTOM_OMNIVISOR_REBUILD', title: 'Rebuild', nova: ['operation.rebuild'] },
  rescuing: { trait: 'CUSTOM_OMNIVISOR_RESCUE', title: 'Rescue and unrescue', nova: ['operation.rescue'] },
  resizing: { trait: 'CUSTOM_OMNIVISOR_RESIZE', title: 'Resize, confirm, revert', nova: ['operation.resize'] },
  crashDumps: {
    trait: 'CUSTOM_OMNIVISOR_CRASH_DUMP',
    title: 'Trigger a crash dump',
    nova: ['operation.trigger-crash-dump'],
  },
  snapshots: { trait: 'CUSTOM_OMNIVISOR_SNAPSHOT', title: 'Snapshot to an image', nova: ['operation.snapshot'] },
  disks: {
    trait: 'COMPUTE_VOLUME_ATTACH',
    title: 'Attach and detach a disk',
    nova: ['operation.attach-volume', 'operation.detach-volume', 'storage.block'],
    isUnreached: true,
  },
  diskGrowing: {
    trait: 'COMPUTE_VOLUME_EXTEND',
    title: 'Grow an attached disk',
    nova: ['operation.extend-volume'],
    isUnreached: true,
  },
  nics: {
    trait: 'COMPUTE_NET_ATTACH_INTERFACE',
    title: 'Attach and detach a network interface',
    nova: ['operation.attach-interface', 'operation.detach-interface'],
  },
  liveMigration: {
    trait: 'CUSTOM_OMNIVISOR_LIVE_MIGRATE',
    title: 'Live migration, and its abort',
    nova: ['operation.live-migrate', 'operation.abort-in-progress-live-migration'],
  },
  'liveMigration.copied': {
    trait: 'CUSTOM_OMNIVISOR_BLOCK_MIGRATE',
    title: 'Live migration with a copy of the disks',
    nova: [],
  },
  'liveMigration.forced': {
    trait: 'CUSTOM_OMNIVISOR_FORCE_MIGRATION',
    title: 'Live migration forced to its end',
    nova: ['operation.force-live-migration-to-complete'],
  },
  adoption: { trait: 'CUSTOM_OMNIVISOR_ADOPT', title: 'Adopt and release a guest', nova: [] },
  consoleLog: { trait: 'CUSTOM_OMNIVISOR_CONSOLE_LOG', title: 'Console log', nova: ['console.serial.log'] },
  'consoles.vnc': { trait: 'CUSTOM_OMNIVISOR_CONSOLE_VNC', title: 'VNC console', nova: ['console.vnc'] },
  'consoles.serial': {
    trait: 'CUSTOM_OMNIVISOR_CONSOLE_SERIAL',
    title: 'Serial console',
    nova: ['console.serial.interactive'],
  },
  'consoleTickets.rdp': { trait: 'CUSTOM_OMNIVISOR_CONSOLE_RDP', title: 'RDP console', nova: ['console.rdp'] },
  'consoleTickets.mks': { trait: 'CUSTOM_OMNIVISOR_CONSOLE_MKS', title: 'MKS console', nova: [] },
  statistics: { trait: 'CUSTOM_OMNIVISOR_STATISTICS', title: 'Statistics of a guest', nova: [] },
  guestIntegration: {
    trait: 'CUSTOM_OMNIVISOR_GUEST_INTEGRATION',
    title: "Facts from the hypervisor's integration services",
    nova: [],
  },
  guestAgent: {
    trait: 'CUSTOM_OMNIVISOR_GUEST_AGENT',
    title: 'Guest agent: facts, password',
    nova: ['operation.set-admin-password'],
  },
} as const satisfies Record<string, FeatureFacts>;
export type Feature = keyof typeof features;

/** Whether the API leads to a feature. */
export const isReached = (feature: Feature): boolean => (features[feature] as FeatureFacts).isUnreached !== true;
