import {
  type CpuPolicy,
  canonicalProperties,
  cpuPolicyOf,
  type ReserveRequest,
  type ResourceAmounts,
  wishesOf,
  wishTrait,
} from '@omnivisor/contracts';
import type { ServerGroup } from '../core/server-groups.js';
import type { GuestWants, Wanted } from './candidate.js';

const TRAIT = 'trait:';
const RESOURCE = 'resources:';

/** What a flavor takes of a provider, as Nova counts it; `resources:X` in the extra specs overrides. */
export const resourcesOf = (flavor: ReserveRequest['flavor'], image: ReserveRequest['image']): ResourceAmounts => {
  const root = flavor.disk > 0 ? flavor.disk : image.minDisk;
  const { policy } = cpuPolicyOf(flavor, image);
  const amounts: Record<string, number> = {
    [policy === 'dedicated' ? 'PCPU' : 'VCPU']: flavor.vcpus,
    MEMORY_MB: flavor.memory,
    DISK_GB: root + flavor.ephemeral + Math.ceil(flavor.swap / 1024),
  };
  for (const [key, value] of Object.entries(flavor.extraSpecs))
    if (key.startsWith(RESOURCE) && /^\d+$/.test(value)) amounts[key.slice(RESOURCE.length)] = Number(value);
  return Object.fromEntries(Object.entries(amounts).filter(([, amount]) => amount > 0));
};

/** Nova's trait of hosts whose cores have several threads. */
const THREADED = 'HW_CPU_HYPERTHREADING';

const hasThreads = (
  flavor: ReserveRequest['flavor'],
  image: ReserveRequest['image'],
  threads: CpuPolicy['threads'],
) => {
  const wanted = cpuPolicyOf(flavor, image);
  return wanted.policy === 'dedicated' && wanted.threads === threads ? [THREADED] : [];
};

const traitsOf = (specs: Readonly<Record<string, string>>, verdict: string): string[] =>
  Object.entries(specs)
    .filter(([key, value]) => key.startsWith(TRAIT) && value === verdict)
    .map(([key]) => key.slice(TRAIT.length));

const serverIds = (hint: unknown): string[] =>
  (Array.isArray(hint) ? hint : [hint]).filter((id): id is string => typeof id === 'string');

/** What a request may mean of the world as it is now. */
export interface Surroundings {
  /** Hosts that hold claims of a server. */
  hostsOf(serverId: string): readonly string[];
  groupOf(groupId: string): ServerGroup | undefined;
  machineOf(hostId: string): string | undefined;
}

export const guestWants = ({ flavor, image: given }: Pick<ReserveRequest, 'flavor' | 'image'>): GuestWants => {
  const image = { ...given, properties: canonicalProperties(given.properties) };
  return {
    request: { flavor, image },
    resources: resourcesOf(flavor, image),
    requiredTraits: [
      ...new Set([
        ...traitsOf(flavor.extraSpecs, 'required'),
        ...traitsOf(image.properties, 'required'),
        ...hasThreads(flavor, image, 'require'),
      ]),
    ].sort(),
    forbiddenTraits: [
      ...new Set([...traitsOf(flavor.extraSpecs, 'forbidden'), ...hasThreads(flavor, image, 'isolate')]),
    ].sort(),
    wishes: wishesOf(image.properties, flavor.extraSpecs).flatMap(({ name, key, value }) => {
      const trait = wishTrait(name);
      return trait === null ? [] : [{ key, value, trait }];
    }),
  };
};

export const wantedOf = (asked: Omit<ReserveRequest, 'context'>, around: Surroundings): Wanted => {
  const wants = guestWants(asked);
  const request = { ...asked, ...wants.request };
  const { hints } = request;
  const hosts = (ids: string[]) => new Set(ids.flatMap((id) => [...around.hostsOf(id)]));
  return {
    ...wants,
    request,
    ...(around.hostsOf(request.serverId).length > 0 ? { use: 'move' } : {}),
    differentHosts: hosts(serverIds(hints.different_host)),
    sameHosts: hints.same_host === undefined ? null : hosts(serverIds(hints.same_host)),
    machines: [...new Set(request.networkHosts.flatMap((id) => around.machineOf(id) ?? []))],
    group: groupFor(request, around),
  };
};

const groupFor = (
  { serverId, hints }: Omit<ReserveRequest, 'context'>,
  { hostsOf, groupOf }: Surroundings,
): Wanted['group'] => {
  const [groupId] = serverIds(hints.group);
  const group = groupId === undefined ? undefined : groupOf(groupId);
  if (!group) return null;
  const membersOn = new Map<string, number>();
  for (const member of group.members) {
    if (member === serverId) continue;
    for (const host of new Set(hostsOf(member))) membersOn.set(host, (membersOn.get(host) ?? 0) + 1);
  }
  return { policy: group.policy, maxPerHost: group.maxPerHost, membersOn };
};
