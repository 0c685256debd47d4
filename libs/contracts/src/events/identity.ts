import { z } from 'zod';
import { type EventOf, event, eventSet, personal, VaultRef } from '../event-set.js';
import { IdentityDomainId, ProjectId, RoleId, UserId } from '../ids.js';
import { Instant } from '../units.js';

/** Attributes that callers add and Keystone keeps as they are. */
const extra = z.record(z.string(), z.unknown());
const options = z.record(z.string(), z.unknown());

export const IdentityDomainAttributes = z.object({
  name: z.string(),
  description: z.string(),
  enabled: z.boolean(),
  tags: z.array(z.string()),
  options,
  extra,
});
export type IdentityDomainAttributes = z.infer<typeof IdentityDomainAttributes>;

export const identityDomainEvents = eventSet({
  stream: 'identity-domain',
  writer: 'api-gateway',
  events: {
    IdentityDomainCreated: event(
      'A domain for projects and users was created.',
      z.object({ id: IdentityDomainId, attributes: IdentityDomainAttributes }),
    ),
    IdentityDomainUpdated: event(
      'Attributes of the domain are now these; disabling it ends every token of its users and projects.',
      z.object({ id: IdentityDomainId, changes: IdentityDomainAttributes.partial() }),
    ),
    IdentityDomainDeleted: event('The domain was deleted.', z.object({ id: IdentityDomainId })),
  },
});
export type IdentityDomainEvent = EventOf<typeof identityDomainEvents>;

export const ProjectAttributes = z.object({
  /** Many a project is that of one person. */
  name: personal(z.string()),
  domainId: IdentityDomainId,
  /** The domain's id for a project at the top. */
  parentId: z.string(),
  description: personal(z.string()),
  enabled: z.boolean(),
  tags: personal(z.array(z.string())),
  options,
  extra: personal(extra),
});
export type ProjectAttributes = z.infer<typeof ProjectAttributes>;

export const projectEvents = eventSet({
  stream: 'project',
  writer: 'api-gateway',
  subject: ({ id }) => ({ kind: 'project', id: id as string }),
  events: {
    ProjectCreated: event('A project was created.', z.object({ id: ProjectId, attributes: ProjectAttributes })),
    ProjectUpdated: event(
      'Attributes of the project are now these; disabling it ends every token that is scoped to it.',
      z.object({ id: ProjectId, changes: ProjectAttributes.partial() }),
    ),
    ProjectDeleted: event('The project was deleted.', z.object({ id: ProjectId })),
  },
});
export type ProjectEvent = EventOf<typeof projectEvents>;

export const UserAttributes = z.object({
  name: personal(z.string()),
  domainId: IdentityDomainId,
  description: personal(z.string().nullable()),
  enabled: z.boolean(),
  defaultProjectId: z.string().nullable(),
  options,
  extra: personal(extra),
});
export type UserAttributes = z.infer<typeof UserAttributes>;

export const userEvents = eventSet({
  stream: 'user',
  writer: 'api-gateway',
  subject: ({ id }) => ({ kind: 'user', id: id as string }),
  events: {
    UserCreated: event('A user was created.', z.object({ id: UserId, attributes: UserAttributes })),
    UserUpdated: event(
      'Attributes of the user are now these; disabling it ends all its tokens.',
      z.object({ id: UserId, changes: UserAttributes.partial() }),
    ),
    UserPasswordSet: event(
      'The user has a new password; tokens issued before are no longer valid.',
      z.object({
        id: UserId,
        /** Argon2 hash in the vault. */
        password: VaultRef,
        at: Instant,
        /** True when the user changed it by giving the old one. */
        byUser: z.boolean(),
      }),
    ),
    UserDeleted: event('The user was deleted.', z.object({ id: UserId })),
  },
});
export type UserEvent = EventOf<typeof userEvents>;

/** One kind of request that a program may make: nothing but its like, where it has any. */
export const AccessRule = z.object({
  id: z.string(),
  /** Type of the service in the catalog. */
  service: z.string(),
  method: z.string(),
  /** `*` and `{name}` are a path segment, `**` any number of them. */
  path: z.string(),
});
export type AccessRule = z.infer<typeof AccessRule>;
export const AccessRuleAttributes = AccessRule.omit({ id: true }).extend({ userId: UserId });
export type AccessRuleAttributes = z.infer<typeof AccessRuleAttributes>;

export const accessRuleEvents = eventSet({
  stream: 'access-rule',
  writer: 'api-gateway',
  events: {
    AccessRuleCreated: event(
      'A user has a rule for what its programs may ask.',
      z.object({ id: z.string(), attributes: AccessRuleAttributes }),
    ),
    AccessRuleDeleted: event('The access rule was deleted.', z.object({ id: z.string() })),
  },
});
export type AccessRuleEvent = EventOf<typeof accessRuleEvents>;

export const ApplicationCredentialAttributes = z.object({
  userId: UserId,
  projectId: ProjectId,
  name: personal(z.string()),
  description: personal(z.string().nullable()),
  roleIds: z.array(RoleId),
  expiresAt: Instant.nullable(),
  /** Microseconds beyond the millisecond, as they were asked for. */
  expiresMicros: z.string().optional(),
  /** True: its tokens may manage application credentials too. */
  unrestricted: z.boolean(),
  /** Access rules that bound it; none: it may ask everything that its roles allow. */
  accessRuleIds: z.array(z.string()).optional(),
  secret: VaultRef,
});
export type ApplicationCredentialAttributes = z.infer<typeof ApplicationCredentialAttributes>;

export const applicationCredentialEvents = eventSet({
  stream: 'application-credential',
  writer: 'api-gateway',
  subject: ({ attributes }) => ({ kind: 'user', id: (attributes as ApplicationCredentialAttributes).userId }),
  events: {
    ApplicationCredentialCreated: event(
      'A user lent some of its roles on a project to a program.',
      z.object({ id: z.string(), attributes: ApplicationCredentialAttributes }),
    ),
    ApplicationCredentialDeleted: event('The application credential was deleted.', z.object({ id: z.string() })),
  },
});
export type ApplicationCredentialEvent = EventOf<typeof applicationCredentialEvents>;

export const RoleAttributes = z.object({
  name: z.string(),
  /** Null for a role of the whole cloud; a domain's own role means something by the roles it implies only. */
  domainId: IdentityDomainId.nullable(),
  description: z.string().nullable(),
  options,
  extra,
});
export type RoleAttributes = z.infer<typeof RoleAttributes>;

export const roleEvents = eventSet({
  stream: 'role',
  writer: 'api-gateway',
  events: {
    RoleCreated: event('A role was created.', z.object({ id: RoleId, attributes: RoleAttributes })),
    RoleUpdated: event(
      'Attributes of the role are now these.',
      z.object({ id: RoleId, changes: RoleAttributes.partial() }),
    ),
    RoleImplied: event('Whoever has this role has the implied one too.', z.object({ id: RoleId, impliedId: RoleId })),
    RoleNoLongerImplied: event('The role no longer implies the other.', z.object({ id: RoleId, impliedId: RoleId })),
    RoleDeleted: event('The role was deleted.', z.object({ id: RoleId })),
  },
});
export type RoleEvent = EventOf<typeof roleEvents>;

export const GroupAttributes = z.object({
  name: z.string(),
  domainId: IdentityDomainId,
  description: z.string(),
  extra,
});
export type GroupAttributes = z.infer<typeof GroupAttributes>;

export const groupEvents = eventSet({
  stream: 'group',
  writer: 'api-gateway',
  events: {
    GroupCreated: event('A group of users was created.', z.object({ id: z.string(), attributes: GroupAttributes })),
    GroupUpdated: event(
      'Attributes of the group are now these.',
      z.object({ id: z.string(), changes: GroupAttributes.partial() }),
    ),
    GroupMemberAdded: event('The user is in the group.', z.object({ id: z.string(), userId: UserId })),
    GroupMemberRemoved: event('The user is no longer in the group.', z.object({ id: z.string(), userId: UserId })),
    GroupDeleted: event('The group was deleted.', z.object({ id: z.string() })),
  },
});
export type GroupEvent = EventOf<typeof groupEvents>;

export const AssignmentScope = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('project'), id: ProjectId }),
  z.object({ kind: z.literal('domain'), id: IdentityDomainId }),
  z.object({ kind: z.literal('system'), id: z.literal('all') }),
]);
export type AssignmentScope = z.infer<typeof AssignmentScope>;

export const RoleAssignment = z.object({
  actorKind: z.enum(['user', 'group']),
  actorId: z.string(),
  scope: AssignmentScope,
  roleId: RoleId,
  /** True: it holds on the projects below the scope, not on the scope itself. */
  inherited: z.boolean(),
});
export type RoleAssignment = z.infer<typeof RoleAssignment>;

/** One stream per user or group: `assignment-<id>`. */
export const assignmentEvents = eventSet({
  stream: 'assignment',
  writer: 'api-gateway',
  events: {
    RoleAssigned: event('A user or group has a role on a scope.', RoleAssignment),
    RoleUnassigned: event('A user or group no longer has a role on a scope.', RoleAssignment),
  },
});
export type AssignmentEvent = EventOf<typeof assignmentEvents>;

export const RegionAttributes = z.object({ description: z.string(), parentRegionId: z.string().nullable(), extra });
export const CatalogServiceAttributes = z.object({
  type: z.string(),
  name: z.string().nullable(),
  enabled: z.boolean(),
  description: z.string().nullable(),
  extra,
});
export const EndpointAttributes = z.object({
  serviceId: z.string(),
  interface: z.enum(['public', 'internal', 'admin']),
  regionId: z.string().nullable(),
  url: z.string(),
  enabled: z.boolean(),
  extra,
});

const record = <A extends z.ZodObject>(attributes: A) => ({
  created: z.object({ id: z.string(), attributes }),
  updated: z.object({ id: z.string(), changes: attributes.partial() }),
  deleted: z.object({ id: z.string() }),
});
const region = record(RegionAttributes);
const catalogService = record(CatalogServiceAttributes);
const endpoint = record(EndpointAttributes);

export const regionEvents = eventSet({
  stream: 'region',
  writer: 'api-gateway',
  events: {
    RegionCreated: event('A region of the catalog was created.', region.created),
    RegionUpdated: event('Attributes of the region are now these.', region.updated),
    RegionDeleted: event('The region was deleted.', region.deleted),
  },
});
export const catalogServiceEvents = eventSet({
  stream: 'catalog-service',
  writer: 'api-gateway',
  events: {
    CatalogServiceCreated: event('A service of the catalog was created.', catalogService.created),
    CatalogServiceUpdated: event('Attributes of the service are now these.', catalogService.updated),
    CatalogServiceDeleted: event('The service was deleted from the catalog.', catalogService.deleted),
  },
});
export const endpointEvents = eventSet({
  stream: 'endpoint',
  writer: 'api-gateway',
  events: {
    EndpointCreated: event('An endpoint of the catalog was created.', endpoint.created),
    EndpointUpdated: event('Attributes of the endpoint are now these.', endpoint.updated),
    EndpointDeleted: event('The endpoint was deleted.', endpoint.deleted),
  },
});

/** One stream per unique name; its key is a hash of kind, scope and name, so that it names nobody. */
export const identityNameEvents = eventSet({
  stream: 'identity-name',
  writer: 'api-gateway',
  events: {
    IdentityNameTaken: event(
      'A project, user, role, group or domain took its name.',
      z.object({ kind: z.string(), owner: z.string(), at: Instant }),
    ),
    IdentityNameGivenBack: event('The name is free again.', z.object({ kind: z.string(), owner: z.string() })),
  },
});
export type IdentityNameEvent = EventOf<typeof identityNameEvents>;

/** One stream per token chain, keyed by its first audit id. */
export const tokenEvents = eventSet({
  stream: 'token',
  writer: 'api-gateway',
  events: {
    TokenRevoked: event(
      'A token was given back before its time.',
      z.object({ auditId: z.string(), userId: UserId, expiresAt: Instant }),
    ),
  },
});
export type TokenEvent = EventOf<typeof tokenEvents>;

/** The stream `token-keys-all`. */
export const tokenKeyEvents = eventSet({
  stream: 'token-keys',
  writer: 'api-gateway',
  events: {
    TokenKeyAdded: event(
      'Tokens are now sealed with this key; those sealed with older keys are still read.',
      z.object({ index: z.number().int(), key: VaultRef, at: Instant }),
    ),
    TokenKeyRetired: event('Tokens sealed with this key are no longer read.', z.object({ index: z.number().int() })),
  },
});
export type TokenKeyEvent = EventOf<typeof tokenKeyEvents>;

/** One stream per minute: `login-<minute>`. */
export const loginEvents = eventSet({
  stream: 'login',
  writer: 'api-gateway',
  subject: ({ minute }) => ({ kind: 'logins', id: (minute as string).slice(0, 10) }),
  events: {
    LoginFailuresCounted: event(
      'So many logins from one source failed in one way within a minute.',
      z.object({
        source: personal(z.string()),
        reason: z.string(),
        minute: Instant,
        count: z.number().int().positive(),
      }),
    ),
  },
});
export type LoginEvent = EventOf<typeof loginEvents>;

/** All kinds of stream of the identity service. */
export const identityEventSets = [
  identityDomainEvents,
  projectEvents,
  userEvents,
  accessRuleEvents,
  applicationCredentialEvents,
  roleEvents,
  groupEvents,
  assignmentEvents,
  regionEvents,
  catalogServiceEvents,
  endpointEvents,
  identityNameEvents,
  tokenEvents,
  tokenKeyEvents,
  loginEvents,
] as const;
