import { z } from 'zod';

/**
 * Ids have types: giving a `ProjectId` for a `ServerId` does not compile. Parse once, at the edge, with the schema of
 * the same name; inside, the type is the proof.
 */

/** RFC 9562 UUID in the canonical text form, as Nova, Neutron and Glance print it. */
const uuid = <B extends string>() => z.uuid().brand<B>();
/** Keystone prints its ids as 32 hexadecimal digits, but keeps well-known ones such as `default`. */
const keystoneId = <B extends string>() =>
  z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,64}$/)
    .brand<B>();

export const ServerId = uuid<'ServerId'>();
export type ServerId = z.infer<typeof ServerId>;
/** A change of host or size, as Nova's `uuid` of a migration names it. */
export const MigrationId = uuid<'MigrationId'>();
export type MigrationId = z.infer<typeof MigrationId>;
export const ImageId = uuid<'ImageId'>();
export type ImageId = z.infer<typeof ImageId>;
export const NetworkId = uuid<'NetworkId'>();
export type NetworkId = z.infer<typeof NetworkId>;
export const SubnetId = uuid<'SubnetId'>();
export type SubnetId = z.infer<typeof SubnetId>;
export const PortId = uuid<'PortId'>();
export type PortId = z.infer<typeof PortId>;
export const SecurityGroupId = uuid<'SecurityGroupId'>();
export type SecurityGroupId = z.infer<typeof SecurityGroupId>;
export const SecurityGroupRuleId = uuid<'SecurityGroupRuleId'>();
export type SecurityGroupRuleId = z.infer<typeof SecurityGroupRuleId>;
/** A compute host: one agent session at a time drives one hypervisor endpoint under this id. */
export const HostId = uuid<'HostId'>();
export type HostId = z.infer<typeof HostId>;
/** Placement resource provider. */
export const ProviderId = uuid<'ProviderId'>();
export type ProviderId = z.infer<typeof ProviderId>;

export const ProjectId = keystoneId<'ProjectId'>();
export type ProjectId = z.infer<typeof ProjectId>;
export const UserId = keystoneId<'UserId'>();
export type UserId = z.infer<typeof UserId>;
export const RoleId = keystoneId<'RoleId'>();
export type RoleId = z.infer<typeof RoleId>;
/** Keystone domain; named so because "domain" also means a guest to Xen and libvirt. */
export const IdentityDomainId = keystoneId<'IdentityDomainId'>();
export type IdentityDomainId = z.infer<typeof IdentityDomainId>;
/** A flavor's `flavorid`: chosen by its maker, so any printable text. */
export const FlavorId = z.string().min(1).max(255).brand<'FlavorId'>();
export type FlavorId = z.infer<typeof FlavorId>;

/** `req-<uuid>`, one per API request, carried by everything the request causes. */
export const RequestId = z
  .string()
  .regex(/^req-[0-9a-f-]{36}$/)
  .brand<'RequestId'>();
export type RequestId = z.infer<typeof RequestId>;
export const EventId = uuid<'EventId'>();
export type EventId = z.infer<typeof EventId>;
/** Same command, same id: a command sent twice has one effect. */
export const CommandId = z.string().min(1).max(128).brand<'CommandId'>();
export type CommandId = z.infer<typeof CommandId>;
