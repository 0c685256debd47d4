import { z } from 'zod';
import { CommandContext } from '../envelope.js';
import { AccessRule } from '../events/identity.js';
import { NetworkNeed, PlacementExplanation } from '../events/provider.js';
import { FlavorSnapshot, ImageSnapshot } from '../events/server.js';
import { HostId, ImageId, ProjectId, ProviderId, ServerId, UserId } from '../ids.js';
import { endpoint } from './endpoint.js';

/** What a token says about its bearer; every service asks for it itself. */
export const TokenContext = z.object({
  userId: z.string(),
  userName: z.string(),
  userDomainId: z.string(),
  userDomainName: z.string(),
  projectId: z.string().nullable(),
  projectName: z.string().nullable(),
  projectDomainId: z.string().nullable(),
  projectDomainName: z.string().nullable(),
  domainId: z.string().nullable(),
  domainName: z.string().nullable(),
  /** True for a token with `system: {all: true}` scope. */
  system: z.boolean(),
  roles: z.array(z.object({ id: z.string(), name: z.string() })),
  methods: z.array(z.string()),
  auditIds: z.array(z.string()),
  issuedAt: z.string(),
  expiresAt: z.string(),
  applicationCredentialId: z.string().nullable(),
  /** What its bearer may ask, when not everything. */
  accessRules: z.array(AccessRule).optional(),
  isAdminProject: z.boolean(),
});
export type TokenContext = z.infer<typeof TokenContext>;

export const identityValidate = endpoint(
  'identity.validate',
  z.object({ token: z.string() }),
  z.object({ context: TokenContext.nullable() }),
);

export const reserve = endpoint(
  'scheduler.reserve',
  z.object({
    serverId: ServerId,
    attempt: z.number().int().positive(),
    projectId: ProjectId,
    userId: UserId,
    flavor: FlavorSnapshot,
    image: ImageSnapshot,
    availabilityZone: z.string().nullable(),
    requestedHost: z.string().nullable(),
    hints: z.record(z.string(), z.unknown()),
    /** Hosts that failed earlier attempts. */
    excludeHosts: z.array(HostId),
    /** Hosts that have ports of the server's local networks, which cannot span machines. */
    networkHosts: z.array(HostId),
    networkNeeds: z.array(NetworkNeed).optional(),
    /** Where the log asks for the attempt: the scheduler decides on the log up to there, or later. */
    position: z.number().int(),
    context: CommandContext,
  }),
  z.discriminatedUnion('kind', [
    z.object({
      kind: z.literal('claimed'),
      hostId: HostId,
      hostName: z.string(),
      node: z.string(),
      providerId: ProviderId,
      availabilityZone: z.string(),
    }),
    z.object({ kind: z.literal('refused'), message: z.string(), explanation: PlacementExplanation }),
  ]),
  10_000,
);
export type ReserveRequest = z.infer<typeof reserve.request>;
export type ReserveReply = z.infer<typeof reserve.reply>;

/** Asks whether the host that a server is on can start it from another image. Nothing is claimed. */
export const judgeImage = endpoint(
  'scheduler.judge-image',
  z.object({
    serverId: ServerId,
    hostId: HostId,
    flavor: FlavorSnapshot,
    image: ImageSnapshot,
    /** Rebuilt, its disk is the one that the server has claimed; rescued, another one beside it. */
    use: z.enum(['rebuild', 'rescue']).default('rebuild'),
    /** The scheduler judges by the log up to there, or later. */
    position: z.number().int(),
  }),
  /** What the host lacks, for the owner of the server; null when nothing. */
  z.object({ refusal: z.string().nullable() }),
);

/** Answered by the scheduler that is active, and by none that stands by. `decides` false: it has stopped placing servers. */
export const schedulerState = endpoint('scheduler.state', z.object({}), z.object({ decides: z.boolean() }), 1_000);

/** Asks image-service what a server needs to know of an image; `context` null for what everybody may see. */
export const describeImage = endpoint(
  'image.describe',
  z.object({ imageId: ImageId, projectId: z.string().nullable(), isAdmin: z.boolean() }),
  z.object({
    image: ImageSnapshot.extend({
      status: z.string(),
      visibility: z.string(),
      owner: z.string().nullable(),
    }).nullable(),
  }),
);

/**
 * Admin commands of the command line: `admin.<app>.<command>`. Arguments and results are the app's own; the command
 * line only prints.
 */
export const adminSubject = (app: string, command: string) => `admin.${app}.${command}`;
export const AdminRequest = z.object({ args: z.record(z.string(), z.unknown()) });
export const AdminReply = z.object({ ok: z.boolean(), result: z.unknown() });
