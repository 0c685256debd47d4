import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import { HostId, ProviderId, ServerId } from '../ids.js';
import { ImageFormat } from '../image-format.js';

export const Backend = z.enum(['fake', 'qemu', 'xen', 'xenserver', 'vsphere', 'hyperv']);
export type Backend = z.infer<typeof Backend>;

export const HostHealth = z.enum(['healthy', 'unhealthy', 'undetected']);
export type HostHealth = z.infer<typeof HostHealth>;

/** What a probe of one backend found. */
export const ProbeResult = z.object({
  backend: Backend,
  health: HostHealth,
  /** One sentence for the operator: what was tried and what came back. */
  reason: z.string(),
  /** Product and version as the backend reports them, e.g. `QEMU 7.2.22`. */
  version: z.string().nullable(),
});
export type ProbeResult = z.infer<typeof ProbeResult>;

/** Facts of a host that change rarely, as its agent reports them when a session starts, and when they have changed. */
export const HostFacts = z.object({
  hostname: z.string(),
  /** Hypervisor hostname as Nova shows it. */
  node: z.string(),
  /** /etc/machine-id: two agents with one machine id share that machine's network. */
  machineId: z.string(),
  /** Changes when the machine boots. */
  bootId: z.string(),
  backend: Backend,
  /** Nova's `hypervisor_type`, e.g. `QEMU`. */
  hypervisorType: z.string(),
  /** Nova's `hypervisor_version`, e.g. 7002022 for 7.2.22. */
  hypervisorVersion: z.number().int(),
  hostIp: z.string(),
  cpuInfo: z.record(z.string(), z.unknown()),
  vcpus: z.number().int().nonnegative(),
  /** Processors that it gives to servers with CPUs of their own, one to one; absent when it gives none. */
  dedicatedCpus: z.number().int().nonnegative().optional(),
  memoryMib: z.number().int().nonnegative(),
  diskGib: z.number().int().nonnegative(),
  /** os-traits names and `CUSTOM_…`. */
  traits: z.array(z.string()),
  probes: z.array(ProbeResult),
  /** Physical networks that its guests' ports can lie on; absent from agents of older releases. */
  physicalNetworks: z.array(z.string()).optional(),
  /** Forms in which it sends a server's disk, best first; absent when it cannot. */
  snapshotFormats: z.array(ImageFormat).optional(),
  /** Its hypervisor can move its guests to others of their kind, and take none; absent: it cannot. */
  maintenance: z.boolean().optional(),
  /** Where it takes running guests from other machines; absent when it takes none, or its hypervisor knows. */
  migrationAddress: z.string().max(255).optional(),
  /**
   * Between which hosts its running guests move, as traits of these hosts; absent from agents of older releases. Those with
   * `storage` take them without a copy of their disks, those without `realm` not at all, and those with `pool` see its guests.
   */
  migration: z
    .object({ storage: z.string().nullable(), realm: z.string().nullable(), pool: z.string().nullable() })
    .optional(),
});
export type HostFacts = z.infer<typeof HostFacts>;

const host = { hostId: HostId };

export const hostEvents = eventSet({
  stream: 'host',
  writer: 'scheduler',
  events: {
    HostEnrolled: event(
      'An operator let a compute host in; `publicKey` is the NATS user key it proves itself with.',
      z.object({
        ...host,
        name: z.string(),
        availabilityZone: z.string(),
        publicKey: z.string(),
        providerId: ProviderId,
      }),
    ),
    HostSessionStarted: event(
      'An agent took up the host; older sessions of the host end.',
      z.object({ ...host, session: z.number().int().positive(), facts: HostFacts }),
    ),
    HostProbed: event(
      'What runs guests on the host became well, ill, or ill in another way, or the host has more or less by now. It gets servers only while it is well.',
      z.object({
        ...host,
        probes: z.array(ProbeResult),
        /** What the host is now, where it was looked at anew. */
        facts: HostFacts.optional(),
      }),
    ),
    HostWentUp: event('The host is reachable again.', z.object({ ...host, session: z.number().int() })),
    HostWentDown: event(
      'The host missed its beats: it gets no new servers. Nothing that runs there is touched.',
      z.object({ ...host, session: z.number().int(), missedBeats: z.number().int() }),
    ),
    HostEnabled: event('An operator lets the host get new servers.', z.object(host)),
    HostDisabled: event(
      'An operator keeps new servers away from the host.',
      z.object({ ...host, reason: z.string().nullable() }),
    ),
    HostMaintenanceRequested: event(
      'An operator has the hypervisor of the host move its guests to other members of its pool or cluster, and take no others.',
      z.object({ ...host, generation: z.number().int().positive(), reason: z.string().nullable() }),
    ),
    HostMaintenanceEntered: event(
      'The hypervisor has moved the guests of the host elsewhere. They are still its servers.',
      z.object({ ...host, generation: z.number().int().positive() }),
    ),
    HostMaintenanceEndRequested: event(
      'An operator lets the hypervisor of the host take guests again.',
      z.object({ ...host, generation: z.number().int().positive() }),
    ),
    HostMaintenanceLeft: event(
      'The hypervisor of the host takes guests again.',
      z.object({ ...host, generation: z.number().int().positive() }),
    ),
    HostMaintenanceFailed: event(
      'The hypervisor could not empty the host, or not take it back; why, it says itself. Or the host was fenced or retired before.',
      z.object({ ...host, generation: z.number().int().positive(), reason: z.string() }),
    ),
    HostFenced: event(
      'An operator vouches that nothing runs on the host any more; its claims are released.',
      z.object({ ...host, reason: z.string() }),
    ),
    HostRetired: event('The host left the cloud for good; its key is refused.', z.object(host)),
    HostQuarantineReported: event(
      'The agent found a guest with our mark and without a tombstone; it is left alone until an operator decides.',
      z.object({ ...host, serverId: ServerId, attempt: z.number().int(), reason: z.string() }),
    ),
    HostQuarantineSettled: event(
      'An operator decided about a quarantined guest.',
      z.object({ ...host, serverId: ServerId, verdict: z.enum(['keep', 'discard']) }),
    ),
    HostQuarantineCleared: event(
      'The quarantined guest is no longer on the host.',
      z.object({ ...host, serverId: ServerId }),
    ),
  },
});
export type HostEvent = EventOf<typeof hostEvents>;
