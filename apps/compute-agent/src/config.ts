import { Backend, HostId } from '@omnivisor/contracts';
import { count, encrypted, natsSettings, profile } from '@omnivisor/platform';
import { z } from 'zod';
import { parseCpuSet } from './drivers/common/cpu-set.js';
import { physicalNetworksTo } from './drivers/common/endpoint-settings.js';
import { driverSettings } from './drivers/settings.js';

const cpuSet = z
  .string()
  .optional()
  .transform((text, context) => {
    const cpus = text === undefined ? undefined : parseCpuSet(text);
    if (cpus !== null) return cpus;
    context.addIssue({ code: 'custom', message: 'is no set of processors, as 4-7,^5' });
    return z.NEVER;
  });

/** Environment of a compute agent. It has no credential of a database: only the key of its own host. */
const settings = z.object({
  OMNIVISOR_PROFILE: profile,
  ...natsSettings,
  /** File with the host's NATS credentials, from `omnivisor host enroll`. */
  OMNIVISOR_HOST_CREDS: z.string(),
  OMNIVISOR_HOST_ID: HostId,
  OMNIVISOR_CLOUD_ID: z.string().min(1),
  /** Guests, image bytes and network state of this host. */
  OMNIVISOR_STATE_DIR: z.string(),
  /** What may be driven here, best first. */
  OMNIVISOR_BACKENDS: z
    .string()
    .default('qemu')
    .transform((text) => text.split(',').map((b) => b.trim()))
    .pipe(z.array(Backend).min(1)),
  /** Nova's hypervisor hostname; the machine's hostname when not given. */
  OMNIVISOR_NODE: z.string().optional(),
  OMNIVISOR_HOST_IP: z.string().default('127.0.0.1'),
  /** Guests that are made at the same time. */
  OMNIVISOR_SPAWNS: count.default(2),
  /** Times as long as usual that the hypervisor may take: 4 s for a look at it, until it counts as dead, 30 s for a probe. */
  OMNIVISOR_PATIENCE: z.coerce.number().min(1).default(1),
  /** Agents that share this machine's processors, memory and disk, this one included. */
  OMNIVISOR_MACHINE_SHARES: count.min(1).default(1),
  /** Addresses between the networks of this machine and the machine itself, two for each network. */
  OMNIVISOR_OUTSIDE_POOL: z.string().default('100.64.0.0/16'),
  /** Physical networks and the Linux bridges of this machine that they are, `physnet1=br-ex,…`. */
  OMNIVISOR_BRIDGES: physicalNetworksTo('bridge'),
  /** Address at which other hosts send running guests to this one, on a port of their own, by TLS; none: from this machine only. */
  OMNIVISOR_MIGRATION_ADDRESS: z.union([z.ipv4(), z.ipv6()]).optional(),
  /** Folder for the disks of guests on storage that other hosts have in the same place; none: beside the guests. */
  OMNIVISOR_SHARED_DISKS: z.string().optional(),
  /** CPU models of QEMU, best first: guests of `qemu` get the first that the machine can run whole; none: its own CPU. */
  OMNIVISOR_CPU_MODEL: z
    .string()
    .regex(/^[A-Za-z0-9._-]+(\s*,\s*[A-Za-z0-9._-]+)*$/, 'names of CPU models of QEMU, with commas between them')
    .transform((text) => text.split(',').map((name) => name.trim()))
    .optional(),
  /** Processors of the machine (`4-7,^5`) that vCPUs of `qemu` with `hw:cpu_policy=dedicated` get, each its own; none: refused. */
  OMNIVISOR_CPU_DEDICATED_SET: cpuSet,
  /** Processors that the other guests share; all that are not dedicated, when not given. */
  OMNIVISOR_CPU_SHARED_SET: cpuSet,
  /** What a host of the backend `fake` pretends to have. */
  OMNIVISOR_FAKE_VCPUS: count.default(64),
  OMNIVISOR_FAKE_MEMORY_MIB: count.default(262_144),
  OMNIVISOR_FAKE_DISK_GIB: count.default(4_000),
  /** Milliseconds that a fake spawn takes. */
  OMNIVISOR_FAKE_SPAWN_MS: count.default(0),
  /** Where health and metrics are answered; nothing else listens. */
  OMNIVISOR_HEALTH_LISTEN: z.string().default('127.0.0.1'),
  OMNIVISOR_HEALTH_PORT: count.default(0),
  OMNIVISOR_LOG_LEVEL: z.string().default('info'),
  ...driverSettings,
});
export const AgentConfig = encrypted(settings);
export type AgentConfig = z.output<typeof AgentConfig>;
