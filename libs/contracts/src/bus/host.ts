import { z } from 'zod';
import { DomainError } from '../errors.js';
import { HostFacts, ProbeResult } from '../events/host.js';
import { Ipv6Mode, ProviderSegment } from '../events/network.js';
import { FlavorSnapshot, ImageSnapshot, PowerState, ServerOperation } from '../events/server.js';
import { ImageId, NetworkId, PortId, ProjectId, SecurityGroupId, ServerId, SubnetId } from '../ids.js';
import { ImageFormat } from '../image-format.js';
import { endpoint } from './endpoint.js';

/**
 * What a compute host may say and ask. NATS lets host `h` publish `host.<h>.>` and subscribe `wake.<h>` and its own
 * inbox, nothing else; the subject proves who speaks.
 */

const session = z.number().int().nonnegative();
const attempt = z.number().int().positive();

/**
 * The answer to any question of a session that is not the host's: a newer one has taken over, or the log has none like
 * it. The agent that gets it makes no further change, and ends.
 */
export const sessionEnded = (asking: number, current: number) =>
  new DomainError('conflict', 'this session of the host has ended', {
    name: 'HostSessionEnded',
    details: { superseded: asking < current },
  });
export const isSessionEnded = (error: unknown): error is DomainError =>
  error instanceof DomainError && error.name === 'HostSessionEnded';

/** The answer to an agent that takes up its host after another session than the newest. */
export const sessionTaken = (current: number) =>
  new DomainError('conflict', 'another session has taken up the host', {
    name: 'HostSessionTaken',
    details: { current },
  });
/** @returns the session that the host has by now; undefined of another error */
export const takenBy = (error: unknown): number | undefined =>
  error instanceof DomainError && error.name === 'HostSessionTaken' ? session.parse(error.details?.current) : undefined;

/** To the scheduler: an agent takes up its host. The reply's session ends all older ones. */
export const hello = endpoint(
  'host.*.hello',
  z.object({
    facts: HostFacts,
    /** Names this taking up: however often it arrives it is one session. Absent from agents of older releases. */
    call: z.string().min(1).max(64).optional(),
    /**
     * The session that it means to end: one that comes late, of an agent that is gone, ends no other. Absent from agents of
     * older releases.
     */
    after: session.optional(),
  }),
  z.object({ session, cloudId: z.string(), hostName: z.string() }),
);
/** To the scheduler, every 10 s. */
export const beat = endpoint(
  'host.*.beat',
  z.object({ session }),
  z.object({
    /** Position of the newest event of the host's servers: an agent with an older version has missed a wake-up. */
    changedAt: z.number().int().nonnegative(),
    /** What its hypervisor is to do with the host, until that is told to be done: empty it, or take guests again. */
    maintenance: z.object({ generation: z.number().int().positive(), on: z.boolean() }).optional(),
  }),
);

/** To the scheduler: what a beat's answer asked of the hypervisor is done, or why it was not. */
export const maintained = endpoint(
  'host.*.maintained',
  z.object({ session, generation: z.number().int().positive(), error: z.string().max(4_096).nullable() }),
  z.object({}),
);

/**
 * To the scheduler, whenever it changes: how its hypervisors are. Session 0 is that of an agent which looks for one that can
 * run guests, and has not taken up its host yet.
 */
export const probed = endpoint(
  'host.*.probed',
  z.object({ session, probes: z.array(ProbeResult), facts: HostFacts.optional() }),
  z.object({}),
);

export const SecurityRule = z.object({
  direction: z.enum(['ingress', 'egress']),
  ethertype: z.enum(['IPv4', 'IPv6']),
  protocol: z.string().nullable(),
  portMin: z.number().int().nullable(),
  portMax: z.number().int().nullable(),
  /** CIDRs that may talk; none when `remoteGroup` says who. */
  remotePrefixes: z.array(z.string()),
  /** The group whose members may talk. */
  remoteGroup: SecurityGroupId.nullable(),
});
export type SecurityRule = z.infer<typeof SecurityRule>;

/** A port as the host plugs it. */
export const PortPlug = z.object({
  portId: PortId,
  networkId: NetworkId,
  mac: z.string(),
  mtu: z.number().int(),
  adminUp: z.boolean(),
  portSecurity: z.boolean(),
  /** The name that DHCP gives the guest. */
  hostname: z.string(),
  fixedIps: z.array(z.object({ subnetId: SubnetId, address: z.string() })),
  /** Further addresses the guest may use (allowed_address_pairs). */
  allowedPairs: z.array(z.object({ mac: z.string(), address: z.string() })),
  securityGroups: z.array(SecurityGroupId),
  rules: z.array(SecurityRule),
  /** What DHCP tells this port beside, or in place of, what it tells the others of its network. */
  dhcpOptions: z
    .array(z.object({ name: z.string(), value: z.string(), version: z.union([z.literal(4), z.literal(6)]) }))
    .default([]),
  tag: z.string().nullable(),
});
export type PortPlug = z.infer<typeof PortPlug>;

/** A network as a machine has to build it. */
export const NetworkPlan = z.object({
  networkId: NetworkId,
  projectId: ProjectId,
  mtu: z.number().int(),
  /** Absent: the machine builds it for itself, with DHCP and metadata. */
  provider: ProviderSegment.optional(),
  subnets: z.array(
    z.object({
      subnetId: SubnetId,
      version: z.union([z.literal(4), z.literal(6)]),
      cidr: z.string(),
      gateway: z.string().nullable(),
      dhcp: z.boolean(),
      /** Address the DHCP and metadata side of the network uses on this machine; null where there is neither. */
      serviceAddress: z.string().nullable(),
      /** How ports get their IPv6 addresses, and what the network's router advertises; both null for IPv4. */
      ipv6AddressMode: Ipv6Mode.nullable(),
      ipv6RaMode: Ipv6Mode.nullable(),
      dnsNameservers: z.array(z.string()),
      hostRoutes: z.array(z.object({ destination: z.string(), nexthop: z.string() })),
    }),
  ),
});
export type NetworkPlan = z.infer<typeof NetworkPlan>;

/** Members of a security group that rules on the host name. */
export const GroupMembers = z.object({
  securityGroupId: SecurityGroupId,
  /** False: only those that changed. */
  whole: z.boolean(),
  /** No addresses: not a member any more. */
  members: z.array(z.object({ portId: PortId, addresses: z.array(z.string()) })),
});
export type GroupMembers = z.infer<typeof GroupMembers>;

export const InterfaceChange = z.enum(['attach', 'detach']);
export type InterfaceChange = z.infer<typeof InterfaceChange>;

/** What the log wants of one server on one host. */
export const DesiredServer = z.object({
  serverId: ServerId,
  projectId: ProjectId,
  attempt: z.number().int().positive(),
  /** True: destroy it, the log has a tombstone for this attempt. */
  tombstone: z.boolean(),
  /** True when the log has ServerSpawned for this attempt: it is never spawned again. */
  spawned: z.boolean(),
  power: PowerState,
  /** The guest is there already, made by somebody else: it is taken over in place of a spawn. */
  adoption: z.object({ nativeId: z.string() }).optional(),
  /** True: its guest is given back as it is. */
  release: z.boolean().optional(),
  /** Generation of the newest rebuild that is done; 0 while there is none. */
  build: z.number().int().nonnegative().default(0),
  /** The newest operation; while `done` is false it has to be carried out and reported. */
  operation: z
    .object({
      generation: z.number().int(),
      kind: ServerOperation,
      done: z.boolean(),
      /** Of a rebuild or resize: false leaves the guest off. */
      powerOn: z.boolean().optional(),
      /** Of a rescue: what the guest is started from. */
      image: ImageSnapshot.optional(),
      /** Of a resize, its confirmation or reversal: the flavor that the guest has then. */
      flavor: FlavorSnapshot.optional(),
      /** Of a live migration: how its disks get there. */
      disks: z.enum(['copied', 'shared']).optional(),
      /** Of a live migration: it is given up. */
      abort: z.boolean().optional(),
      /** Of a live migration: the guest may stand still until it is done. */
      force: z.boolean().optional(),
    })
    .nullable(),
  /**
   * What the host has of a server that moves: `kept` is off and stays as it is, `incoming` waits for a guest that is on
   * its way. Absent: all of it.
   */
  part: z.enum(['kept', 'incoming']).optional(),
  /** Of a guest that is on its way here: how its disks come. */
  arrivesBy: z.enum(['copied', 'shared']).optional(),
  /** Of disks that are copied: not where both hosts have them. */
  mayShare: z.boolean().optional(),
  /** What the disks of a guest that moves here are made of; absent: of its image. */
  arrival: z
    .object({
      root: ImageSnapshot,
      ephemeral: ImageSnapshot.nullable(),
      /** False: it was off, and stays so. */
      powerOn: z.boolean(),
    })
    .optional(),
  name: z.string(),
  flavor: FlavorSnapshot,
  image: ImageSnapshot,
  configDrive: z.boolean(),
  /** Every port of the server; a tombstone has no plugs any more. */
  portIds: z.array(PortId),
  ports: z.array(PortPlug),
  /** Interfaces that the guest does not have yet, or has to give up: each until it is reported. */
  interfaces: z.array(z.object({ portId: PortId, change: InterfaceChange })).default([]),
});
export type DesiredServer = z.infer<typeof DesiredServer>;

/** To the gateway, at each wake-up and every 30 s. `since` 0 asks for everything, as a host does that knows nothing. */
export const desired = endpoint(
  'host.*.desired',
  z.object({ session, since: z.number().int() }),
  z.object({
    /** Give it as `since` next time. */
    version: z.number().int(),
    /** False: only what changed since `since`. True also when networks or rules changed under what did not. */
    whole: z.boolean(),
    servers: z.array(DesiredServer),
    /** Those of the servers named. */
    networks: z.array(NetworkPlan),
    /** Those that the host does not know yet, or whose members changed. */
    groups: z.array(GroupMembers),
    /** Quarantined guests an operator decided about. */
    discard: z.array(z.object({ serverId: ServerId, attempt: z.number().int() })),
  }),
);

/** What an agent is about to do to a guest or its ports. */
export const HostChange = z.discriminatedUnion('kind', [
  /** Make the guest; take out again what a spawn that failed has plugged. */
  z.object({ kind: z.literal('spawn'), serverId: ServerId, attempt }),
  /** Make the shell of a guest that is on its way here. */
  z.object({ kind: z.literal('receive'), serverId: ServerId, attempt }),
  /** Bring the ports of a guest up to date. */
  z.object({ kind: z.literal('plug'), serverId: ServerId, attempt }),
  z.object({ kind: z.literal('operate'), serverId: ServerId, attempt, generation: z.number().int() }),
  /** Give the guest an interface, or take one from it, with its port. */
  z.object({ kind: z.literal('interface'), serverId: ServerId, attempt, portId: PortId, change: InterfaceChange }),
  /** Give an adopted guest back, and take its ports out. */
  z.object({ kind: z.literal('release'), serverId: ServerId, attempt }),
  /** Remove guest and ports on a tombstone. */
  z.object({ kind: z.literal('destroy'), serverId: ServerId, attempt }),
  /** Remove a guest in quarantine that an operator gave up. */
  z.object({ kind: z.literal('discard'), serverId: ServerId, attempt }),
]);
export type HostChange = z.infer<typeof HostChange>;

export const MAX_CHANGES = 500;
/**
 * To the gateway, before each change: does the log still ask for it? A spawn is confirmed by the answer to `serverBoot`,
 * what follows from an answer to `desired` at once by that. No changes at all ask for the session alone.
 */
export const confirm = endpoint(
  'host.*.confirm',
  z.object({ session, changes: z.array(HostChange).max(MAX_CHANGES) }),
  /** One for each change, in their order. */
  z.object({ confirmed: z.array(z.boolean()) }),
);

/**
 * To the gateway, one server at a time: what only its own host may know, for as long as it needs it. Null when the log
 * does not ask the host to spawn it, or to carry out the operation.
 */
export const serverBoot = endpoint(
  'host.*.server-boot',
  z.object({
    session,
    serverId: ServerId,
    attempt,
    /** The operation that needs an image's bytes; absent for the spawn. */
    generation: z.number().int().optional(),
    /** What the host's driver takes, best first; absent for the image's own form. */
    imageFormats: z.array(ImageFormat).min(1).optional(),
  }),
  z
    .object({
      /** Signed for this image and host, and expiring. */
      imageUrl: z.string(),
      imageId: ImageId,
      /** The form of the bytes behind the URL; absent for the image's own. */
      imageFormat: ImageFormat.optional(),
      /** The ephemeral disk of a server that moves here, as the image above. */
      ephemeral: z.object({ imageUrl: z.string(), imageFormat: ImageFormat.optional() }).optional(),
      /** URLs of what the hypervisor starts, of servers whose image has it beside its disk. */
      kernel: z.object({ imageUrl: z.string() }).optional(),
      ramdisk: z.object({ imageUrl: z.string() }).optional(),
      /** Files of a config drive, path to contents in base64; null when the server has none. */
      configDrive: z.record(z.string(), z.string()).nullable(),
    })
    .nullable(),
);

/**
 * To the gateway: where the bytes of a snapshot, or of a server that moves, go that the log asks the host for. Null when
 * it does not, or not any more.
 */
export const snapshotUpload = endpoint(
  'host.*.snapshot-upload',
  z.object({
    session,
    serverId: ServerId,
    attempt,
    generation: z.number().int(),
    /** Of a server that moves: which one; absent for the root disk. */
    disk: z.enum(['root', 'ephemeral']).optional(),
  }),
  z
    .object({
      /** Signed for this image and host, and expiring; null when the bytes are there already. */
      url: z.string().nullable(),
      format: ImageFormat,
    })
    .nullable(),
);

/** A text of the backend's own about a guest that moves. */
const NATIVE_TEXT = 256 * 1024;
/**
 * To the gateway: the source of a live migration asks its target for a ticket, which holds secrets and is kept nowhere.
 * Null when the log does not ask for the migration any more.
 * @throws DomainError `unavailable` when the target does not answer; `unsupported`, `conflict` when it cannot take it
 */
export const migrationTicket = endpoint(
  'host.*.migration-ticket',
  z.object({
    session,
    serverId: ServerId,
    attempt,
    generation: z.number().int(),
    offer: z.string().max(NATIVE_TEXT),
  }),
  z
    .object({
      ticket: z.string(),
      /** Where the target takes guests from other machines, as the log knows it; absent when nobody may be sent there. */
      address: z.string().optional(),
    })
    .nullable(),
  60_000,
);

/** Characters; a sentence of a driver is shorter. */
const MAX_REASON = 500;
/** What a host says of why it did not do something: users read it, and a host is not trusted to be brief. */
export const hostReason = (text: string): string => text.slice(0, MAX_REASON);
const reason = z.string().transform(hostReason);

/** One thing that an agent saw or did. The server's decider judges it. */
export const HostFact = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('spawned'), power: PowerState, bootId: z.string() }),
  /** Nothing of the attempt is left on the host: another host may try. */
  z.object({ kind: z.literal('spawnFailed'), reason }),
  z.object({
    kind: z.literal('operationDone'),
    generation: z.number().int(),
    operation: ServerOperation,
    power: PowerState,
    bootId: z.string(),
  }),
  z.object({
    kind: z.literal('operationFailed'),
    generation: z.number().int(),
    operation: ServerOperation,
    reason,
    unsupported: z.boolean(),
    power: PowerState.nullable(),
  }),
  z.object({ kind: z.literal('interfaceDone'), portId: PortId, change: InterfaceChange }),
  z.object({
    kind: z.literal('interfaceFailed'),
    portId: PortId,
    change: InterfaceChange,
    reason,
    unsupported: z.boolean(),
  }),
  z.object({ kind: z.literal('powerChanged'), power: PowerState, bootId: z.string() }),
  z.object({ kind: z.literal('missing') }),
  z.object({ kind: z.literal('absent') }),
]);
export type HostFact = z.infer<typeof HostFact>;

/** To the gateway. `accepted` false: the log knows better (other attempt, other host). */
export const report = endpoint(
  'host.*.report',
  z.object({ session, serverId: ServerId, attempt: z.number().int(), fact: HostFact }),
  z.object({ accepted: z.boolean(), reason: z.string().nullable() }),
);

/** To the scheduler: guests with our mark and without a tombstone, as they stand now. */
export const quarantine = endpoint(
  'host.*.quarantine',
  z.object({
    session,
    guests: z.array(z.object({ serverId: ServerId, attempt: z.number().int(), reason: z.string() })),
  }),
  z.object({}),
);

/**
 * To the gateway: a guest asked 169.254.169.254. The agent adds nothing but (network, source address); the gateway
 * answers only for servers the log places on this host.
 */
export const metadata = endpoint(
  'host.*.metadata',
  z.object({ networkId: NetworkId, sourceAddress: z.string(), path: z.string() }),
  z.object({ status: z.number().int(), contentType: z.string(), body: z.string() }),
);

/** From the gateway to the agent's own subject: something changed, ask for `desired`. Carries no truth. */
export const wakeSubject = (hostId: string) => `wake.${hostId}`;
/** What a wake-up says: 'desired', or a live question for the agent with where to send its answer. */
export const Wake = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('desired') }),
  /** The agent makes a shell for a guest that is on its way, and answers with a ticket for it. */
  z.object({ kind: z.literal('receive'), question: z.string(), serverId: ServerId, attempt, offer: z.string() }),
  /** The agent sends the guest an NMI, and answers. */
  z.object({ kind: z.literal('crashDump'), question: z.string(), serverId: ServerId }),
  /** The agent publishes the tail of the console log on `host.<h>.answer.<question>`. */
  z.object({ kind: z.literal('consoleLog'), question: z.string(), serverId: ServerId, maxBytes: z.number().int() }),
  /** The agent answers with `GuestStatistics` as JSON. */
  z.object({ kind: z.literal('statistics'), question: z.string(), serverId: ServerId }),
  /** The agent answers with the `MigrationProgress` of a guest that it sends to another host as JSON; null of any other. */
  z.object({ kind: z.literal('migrationProgress'), question: z.string(), serverId: ServerId }),
  /** The agent answers with what the command `uptime` says on the machine that the guests run on. */
  z.object({ kind: z.literal('uptime'), question: z.string() }),
  /** The agent answers with the guests of the host that are nobody's, as JSON. */
  z.object({ kind: z.literal('foreignGuests'), question: z.string() }),
  /** The agent answers with `GuestDetails` as JSON. */
  z.object({ kind: z.literal('guestDetails'), question: z.string(), serverId: ServerId }),
  /** The agent has the guest change the password of one of its users, and answers. It is kept nowhere. */
  z.object({
    kind: z.literal('setPassword'),
    question: z.string(),
    serverId: ServerId,
    user: z.string(),
    password: z.string(),
  }),
  /** The agent answers with how a client reaches the console by itself, as JSON. */
  z.object({
    kind: z.literal('consoleTicket'),
    question: z.string(),
    serverId: ServerId,
    protocol: z.literal('rdp'),
  }),
  /** The agent dials `url` and joins it to the server's console. */
  z.object({
    kind: z.literal('console'),
    question: z.string(),
    serverId: ServerId,
    protocol: z.enum(['vnc', 'serial', 'mks']),
    url: z.string(),
  }),
]);
export type Wake = z.infer<typeof Wake>;
/** To the gateway: the answer to a live question of a wake-up. */
export const answer = endpoint(
  'host.*.answer',
  z.object({ session, question: z.string(), ok: z.boolean(), unsupported: z.boolean(), body: z.string() }),
  z.object({}),
);
