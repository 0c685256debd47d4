import { type Backend, features, type HostFacts, invalid, type ReserveRequest } from '@omnivisor/contracts';
import type { Migration } from '../state/server.js';

type Told = Pick<HostFacts, 'backend' | 'traits' | 'migration'>;
/** How the disks of a running server get to its target. */
export type Way = Pick<Migration, 'disks' | 'mayShare'>;

/** A trait that the target of a move has to have, or must not have, and what is said where it is otherwise. */
interface Need {
  readonly trait: string;
  readonly wish: 'required' | 'forbidden';
  readonly otherwise: string;
}

const required = (trait: string, otherwise: string): Need => ({ trait, wish: 'required', otherwise });
const hypervisorOf = (backend: Backend) => `CUSTOM_HYPERVISOR_${backend.toUpperCase()}`;
const sameHypervisor = (own: string) => required(own, 'its hypervisor is another one');

/**
 * Only a host of the same backend can go on with a guest that runs, and only where guests of its source can go.
 * @throws DomainError `invalid` when no host can
 */
export const liveNeeds = ({ backend, traits, migration: reach }: Told, { disks, mayShare }: Way): Need[] => {
  const own = hypervisorOf(backend);
  const copies = reach === undefined || traits.includes(features['liveMigration.copied'].trait);
  const needsStorage = reach !== undefined && (disks === 'shared' || (mayShare === true && !copies));
  if (needsStorage && reach.storage === null)
    throw preCheck('the disks of the server lie on storage that no other host has');
  if (disks === 'copied' && !mayShare && !copies) throw preCheck('its hypervisor does not copy disks');
  return [
    ...(traits.includes(own) ? [sameHypervisor(own)] : []),
    required(features.liveMigration.trait, 'it does not take servers that run'),
    ...(reach?.realm ? [required(reach.realm, 'it is not where servers can go to from their host')] : []),
    ...(needsStorage
      ? [required(reach.storage!, 'it does not have the storage that the disks of the server lie on')]
      : []),
  ];
};

/** Agents of older releases: a second guest of the same server had no place in their pool. */
const POOLED: readonly Backend[] = ['xenserver', 'vsphere'];

/**
 * What is on a disk need not start on another hypervisor: a server comes to one only when its operator names the host.
 * @throws DomainError `invalid` when no host can
 */
export const coldNeeds = ({ backend, traits, migration: reach }: Told, isNamed: boolean): Need[] => {
  const own = hypervisorOf(backend);
  const pool = reach ? reach.pool : POOLED.includes(backend) ? own : null;
  const stays = !isNamed && traits.includes(own);
  if (stays && pool === own) throw preCheck('in the pool that the server is in servers move while they run');
  const otherwise = 'it is in the pool that the server is in, where servers move while they run';
  return [
    ...(stays ? [sameHypervisor(own)] : []),
    ...(pool === null ? [] : [{ trait: pool, wish: 'forbidden' as const, otherwise }]),
  ];
};

export const withNeeds = (flavor: ReserveRequest['flavor'], needs: readonly Need[]): ReserveRequest['flavor'] => {
  const specs = Object.fromEntries(needs.map(({ trait, wish }) => [`trait:${trait}`, wish]));
  return { ...flavor, extraSpecs: { ...flavor.extraSpecs, ...specs } };
};

/** @throws DomainError `invalid` when a host that was named cannot be the target */
export const refuseUnfit = (host: Pick<Told, 'traits'>, needs: readonly Need[]): void => {
  const unmet = needs.find(({ trait, wish }) => host.traits.includes(trait) !== (wish === 'required'));
  if (unmet) throw preCheck(unmet.otherwise);
};

const preCheck = (reason: string) => invalid(`Migration pre-check error: ${reason}`);
