import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { features, type HostFacts, isReached, type ProbeResult } from '@omnivisor/contracts';
import {
  featuresOf,
  type HostInventory,
  type HypervisorDriver,
  type ProbeReport,
} from '../drivers/hypervisor-driver.js';
import type { NetworkOffers } from '../network/network-offers.js';

/** Dedicated processors are the agent's own, however many share the machine. */
const shareOf = ({ vcpus, memoryMib, diskGib, ...own }: HostInventory, shares: number): HostInventory => ({
  ...own,
  vcpus: vcpus === 0 ? 0 : Math.max(1, Math.floor(vcpus / shares)),
  memoryMib: Math.floor(memoryMib / shares),
  diskGib: Math.floor(diskGib / shares),
});

/** The name of a thing that several hosts have, as a trait of each; what it is called there is nobody else's concern. */
const traitOf = (what: 'STORAGE' | 'REALM' | 'POOL', backend: string, name: string): string =>
  `CUSTOM_OMNIVISOR_${what}_${createHash('sha256').update(`${backend} ${name}`).digest('hex').slice(0, 16).toUpperCase()}`;

const reachOf = async ({ backend, liveMigration }: HypervisorDriver) => {
  if (!liveMigration) return null;
  const { storage, sees, realm, pool } = await liveMigration.reach();
  const named = (what: Parameters<typeof traitOf>[0], name: string | null) => name && traitOf(what, backend, name);
  const migration = {
    storage: named('STORAGE', storage),
    realm: named('REALM', realm),
    pool: named('POOL', pool),
  };
  const traits = sees.map((name) => traitOf('STORAGE', backend, name));
  return { migration, traits: [...traits, migration.realm, migration.pool].flatMap((trait) => trait ?? []) };
};

/** What the agent says of its host when a session starts. */
export const hostFacts = async (
  driver: HypervisorDriver,
  report: ProbeReport,
  probes: readonly ProbeResult[],
  options: {
    readonly node: string;
    readonly hostIp: string;
    readonly machineId: string;
    readonly bootId: string;
    readonly network?: NetworkOffers;
    /** Agents that share the machine; 1 when not given. */
    readonly shares?: number;
  },
): Promise<HostFacts> => {
  const reach = await reachOf(driver);
  return {
    hostname: hostname(),
    node: options.node,
    machineId: options.machineId,
    bootId: options.bootId,
    backend: driver.backend,
    hypervisorType: report.hypervisorType,
    hypervisorVersion: report.hypervisorVersion,
    hostIp: options.hostIp,
    cpuInfo: { ...report.cpuInfo },
    ...shareOf(await driver.inventory(), options.shares ?? 1),
    traits: [
      ...new Set([
        ...report.traits,
        ...(options.network?.traits ?? []),
        ...featuresOf(driver)
          .filter(isReached)
          .map((feature) => features[feature].trait),
        ...(reach?.traits ?? []),
      ]),
    ].sort(),
    probes: [...probes],
    ...(options.network ? { physicalNetworks: [...options.network.physicalNetworks] } : {}),
    ...(driver.liveMigration?.address === undefined ? {} : { migrationAddress: driver.liveMigration.address }),
    ...(driver.snapshots ? { snapshotFormats: [...driver.snapshots.formats] } : {}),
    ...(reach ? { migration: reach.migration } : {}),
  };
};
