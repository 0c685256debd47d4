import {
  type AccessRuleAttributes,
  type ApplicationCredentialAttributes,
  after,
  type CatalogServiceAttributes,
  type CredentialAttributes,
  type EndpointAttributes,
  type GroupAttributes,
  type IdentityDomainAttributes,
  type Instant,
  identityEventSets,
  identityNameEvents,
  type LimitAttributes,
  loginEvents,
  ms,
  type ProjectAttributes,
  type RecordedEvent,
  type RegionAttributes,
  type RegisteredLimitAttributes,
  type RoleAssignment,
  type RoleAttributes,
  type UserAttributes,
  type VaultRef,
} from '@omnivisor/contracts';
import { type Projection, type Table, table } from '@omnivisor/eventsourcing';
import type { z } from 'zod';
import { assignmentKey } from '../assignment/assignment.js';
import {
  accessRuleNames,
  credentialNames,
  domainNames,
  endpointNames,
  groupNames,
  limitNames,
  projectNames,
  regionNames,
  registeredLimitNames,
  roleNames,
  serviceNames,
  storedCredentialNames,
  userNames,
} from './aggregates.js';
import type { RecordNames } from './record.js';

interface Kept {
  readonly id: string;
  readonly createdAt: Instant;
}
/** Tokens that were issued before this moment are over. */
interface Revocable {
  readonly invalidBefore: Instant | null;
}

export type DomainRow = IdentityDomainAttributes & Kept & Revocable;
export type ProjectRow = ProjectAttributes & Kept & Revocable;
export type UserRow = UserAttributes & Kept & Revocable & { readonly password: VaultRef | null };
export type CredentialRow = ApplicationCredentialAttributes & Kept;
export type StoredCredentialRow = CredentialAttributes & Kept;
export type RegisteredLimitRow = RegisteredLimitAttributes & Kept;
export type LimitRow = LimitAttributes & Kept;
export type AccessRuleRow = AccessRuleAttributes & Kept;
export type RoleRow = RoleAttributes & Kept & { readonly implies: readonly string[] };
export type GroupRow = GroupAttributes & Kept & { readonly members: readonly string[] };
export type RegionRow = z.infer<typeof RegionAttributes> & Kept;
export type ServiceRow = z.infer<typeof CatalogServiceAttributes> & Kept;
export type EndpointRow = z.infer<typeof EndpointAttributes> & Kept;

export const domainTable = table<DomainRow>('identity_domains_v1', ['name']);
export const projectTable = table<ProjectRow>('projects_v1', ['name'], ['domainId'], ['parentId']);
export const userTable = table<UserRow>('users_v1', ['name'], ['domainId']);
export const credentialTable = table<CredentialRow>('application_credentials_v1', ['userId'], ['projectId']);
export const storedCredentialTable = table<StoredCredentialRow>('credentials_v1', ['userId'], ['projectId']);
export const registeredLimitTable = table<RegisteredLimitRow>('registered_limits_v1');
export const limitTable = table<LimitRow>('limits_v1', ['projectId']);
export const accessRuleTable = table<AccessRuleRow>('access_rules_v1', ['userId']);
export const roleTable = table<RoleRow>('roles_v1', ['name']);
export const groupTable = table<GroupRow>('groups_v1', ['name'], ['domainId']);
export const regionTable = table<RegionRow>('regions_v1');
export const serviceTable = table<ServiceRow>('catalog_services_v1');
export const endpointTable = table<EndpointRow>('endpoints_v1', ['serviceId']);

export interface AssignmentRow {
  readonly actorKind: 'user' | 'group';
  readonly actorId: string;
  readonly scopeKind: 'project' | 'domain' | 'system';
  readonly scopeId: string;
  readonly roleId: string;
  readonly inherited: boolean;
}
export const assignmentTable = table<AssignmentRow>('role_assignments_v1', ['actorId'], ['scopeId'], ['roleId']);

export interface RevokedRow {
  readonly expiresAt: Instant;
}
export const revokedTable = table<RevokedRow>('revoked_tokens_v1');

export interface TokenKeyRow {
  readonly index: number;
  readonly key: VaultRef;
}
export const tokenKeyTable = table<TokenKeyRow>('token_keys_v1');

/** How often anything changed that a token's meaning rests on; one row, key `all`. */
export interface IdentityVersion {
  readonly count: number;
}
export const versionTable = table<IdentityVersion>('identity_version_v1');
export const VERSION_KEY = 'all';

type Data = Record<string, unknown> & { id: string };

const record = <Row extends Kept>(
  rows: Table<Row>,
  names: RecordNames,
  initial: object = {},
  more: { readonly [type: string]: (row: Row, data: Data, event: RecordedEvent) => Row } = {},
): Projection<Row> => ({
  table: rows,
  keys: (event) =>
    event.type === names.created ||
    event.type === names.updated ||
    event.type === names.deleted ||
    Object.hasOwn(more, event.type)
      ? [(event.data as Data).id]
      : [],
  evolve: (row, event) => {
    const data = event.data as Data;
    if (event.type === names.deleted) return undefined;
    if (event.type === names.created)
      return { ...initial, ...(data.attributes as object), id: data.id, createdAt: event.recordedAt } as never;
    if (!row) return undefined;
    if (event.type !== names.updated) return more[event.type]!(row, data, event);
    const changes = data.changes as { enabled?: boolean };
    // One moment later: what was issued in the same one is over too.
    const over =
      changes.enabled === false && 'invalidBefore' in row ? { invalidBefore: after(event.recordedAt, ms(1)) } : {};
    return { ...row, ...changes, ...over };
  },
});

const revocable = { invalidBefore: null };

const assignmentProjection: Projection<AssignmentRow> = {
  table: assignmentTable,
  keys: (event) =>
    event.type === 'RoleAssigned' || event.type === 'RoleUnassigned'
      ? [assignmentKey(event.data as RoleAssignment)]
      : [],
  evolve: (_, event) => {
    if (event.type === 'RoleUnassigned') return undefined;
    const { actorKind, actorId, scope, roleId, inherited } = event.data as RoleAssignment;
    return { actorKind, actorId, scopeKind: scope.kind, scopeId: scope.id, roleId, inherited };
  },
};

const revokedProjection: Projection<RevokedRow> = {
  table: revokedTable,
  keys: (event) => (event.type === 'TokenRevoked' ? [(event.data as { auditId: string }).auditId] : []),
  evolve: (_, event) => ({ expiresAt: (event.data as { expiresAt: Instant }).expiresAt }),
};

const tokenKeyProjection: Projection<TokenKeyRow> = {
  table: tokenKeyTable,
  keys: (event) =>
    event.type === 'TokenKeyAdded' || event.type === 'TokenKeyRetired'
      ? [String((event.data as { index: number }).index)]
      : [],
  evolve: (_, event) => {
    if (event.type === 'TokenKeyRetired') return undefined;
    const { index, key } = event.data as TokenKeyRow;
    return { index, key };
  },
};

const counted = new Set(
  identityEventSets
    .filter((set) => set !== (identityNameEvents as object) && set !== (loginEvents as object))
    .flatMap((set) => Object.keys(set.events)),
);
const versionProjection: Projection<IdentityVersion> = {
  table: versionTable,
  keys: (event) => (counted.has(event.type) ? [VERSION_KEY] : []),
  evolve: (row) => ({ count: (row?.count ?? 0) + 1 }),
};

export const identityProjections = [
  record(accessRuleTable, accessRuleNames),
  record(storedCredentialTable, storedCredentialNames),
  record(registeredLimitTable, registeredLimitNames),
  record(limitTable, limitNames),
  record(domainTable, domainNames, revocable),
  record(projectTable, projectNames, revocable),
  record(
    userTable,
    userNames,
    { ...revocable, password: null },
    {
      UserPasswordSet: (row, data) => ({
        ...row,
        password: data.password as VaultRef,
        invalidBefore: data.at as Instant,
      }),
    },
  ),
  record(credentialTable, credentialNames),
  record(
    roleTable,
    roleNames,
    { implies: [] },
    {
      RoleImplied: (row, data) => ({ ...row, implies: [...row.implies, data.impliedId as string] }),
      RoleNoLongerImplied: (row, data) => ({ ...row, implies: row.implies.filter((r) => r !== data.impliedId) }),
    },
  ),
  record(
    groupTable,
    groupNames,
    { members: [] },
    {
      GroupMemberAdded: (row, data) => ({ ...row, members: [...row.members, data.userId as string] }),
      GroupMemberRemoved: (row, data) => ({ ...row, members: row.members.filter((m) => m !== data.userId) }),
    },
  ),
  record(regionTable, regionNames),
  record(serviceTable, serviceNames),
  record(endpointTable, endpointNames),
  assignmentProjection,
  revokedProjection,
  tokenKeyProjection,
  versionProjection,
] as readonly unknown[] as readonly Projection[];
