import { z } from 'zod';
import { type EventOf, event, eventSet } from '../event-set.js';
import {
  HostId,
  NetworkId,
  PortId,
  ProjectId,
  SecurityGroupId,
  SecurityGroupRuleId,
  ServerId,
  SubnetId,
} from '../ids.js';

const Tags = z.array(z.string());
const Version = z.union([z.literal(4), z.literal(6)]);

/** Where a network lies outside of the machines' own networks; source: Neutron's provider extension. */
export const ProviderSegment = z.object({
  networkType: z.enum(['flat', 'vlan']),
  physicalNetwork: z.string(),
  /** VLAN id; null for `flat`. */
  segmentationId: z.number().int().min(1).max(4094).nullable(),
});
export type ProviderSegment = z.infer<typeof ProviderSegment>;

export const NetworkAttributes = z.object({
  name: z.string(),
  description: z.string(),
  adminUp: z.boolean(),
  /** Usable by every project. */
  shared: z.boolean(),
  /** `router:external`. */
  external: z.boolean(),
  isDefault: z.boolean(),
  /** What ports of the network start with. */
  portSecurity: z.boolean(),
  mtu: z.number().int(),
  dnsDomain: z.string(),
  availabilityZoneHints: z.array(z.string()),
  /** Absent: `local`, built by each machine for itself. */
  provider: ProviderSegment.optional(),
});
export type NetworkAttributes = z.infer<typeof NetworkAttributes>;

export const networkEvents = eventSet({
  stream: 'network',
  writer: 'api-gateway',
  events: {
    NetworkCreated: event(
      'A network was made.',
      z.object({ networkId: NetworkId, projectId: ProjectId, attributes: NetworkAttributes }),
    ),
    NetworkCreateAbandoned: event(
      'A request for a network never got beyond its quota; the id is barred so that it cannot come late.',
      z.object({ networkId: NetworkId }),
    ),
    NetworkChanged: event(
      'The named attributes of the network are now these.',
      z.object({ networkId: NetworkId, changes: NetworkAttributes.partial() }),
    ),
    NetworkTagged: event('The tags of the network are now these.', z.object({ networkId: NetworkId, tags: Tags })),
    NetworkDeleted: event('The network is gone.', z.object({ networkId: NetworkId })),
  },
});
export type NetworkEvent = EventOf<typeof networkEvents>;

export const AllocationPool = z.object({ start: z.string(), end: z.string() });
export type AllocationPool = z.infer<typeof AllocationPool>;
export const Ipv6Mode = z.enum(['slaac', 'dhcpv6-stateful', 'dhcpv6-stateless']);
export type Ipv6Mode = z.infer<typeof Ipv6Mode>;

export const SubnetAttributes = z.object({
  name: z.string(),
  description: z.string(),
  gateway: z.string().nullable(),
  dhcp: z.boolean(),
  allocationPools: z.array(AllocationPool),
  dnsNameservers: z.array(z.string()),
  hostRoutes: z.array(z.object({ destination: z.string(), nexthop: z.string() })),
  serviceTypes: z.array(z.string()),
  /** Address of the network's own side (DHCP, metadata) where there is no gateway; null where the gateway serves. */
  serviceAddress: z.string().nullable(),
});
export type SubnetAttributes = z.infer<typeof SubnetAttributes>;

export const subnetEvents = eventSet({
  stream: 'subnet',
  writer: 'api-gateway',
  events: {
    SubnetCreated: event(
      'A network got a range of addresses.',
      z.object({
        subnetId: SubnetId,
        networkId: NetworkId,
        projectId: ProjectId,
        version: Version,
        cidr: z.string(),
        ipv6AddressMode: Ipv6Mode.nullable(),
        ipv6RaMode: Ipv6Mode.nullable(),
        attributes: SubnetAttributes,
      }),
    ),
    SubnetCreateAbandoned: event(
      'A request for a subnet never got beyond its range; the id is barred so that it cannot come late.',
      z.object({ subnetId: SubnetId }),
    ),
    SubnetChanged: event(
      'The named attributes of the subnet are now these.',
      z.object({ subnetId: SubnetId, changes: SubnetAttributes.partial() }),
    ),
    SubnetTagged: event('The tags of the subnet are now these.', z.object({ subnetId: SubnetId, tags: Tags })),
    SubnetDeleted: event('The subnet is gone.', z.object({ subnetId: SubnetId })),
  },
});
export type SubnetEvent = EventOf<typeof subnetEvents>;

export const FixedIp = z.object({ subnetId: SubnetId, address: z.string() });
export type FixedIp = z.infer<typeof FixedIp>;

/** The addresses of one subnet, as its network's pool hands them out. */
export const PoolRange = z.object({
  subnetId: SubnetId,
  version: Version,
  cidr: z.string(),
  gateway: z.string().nullable(),
  allocationPools: z.array(AllocationPool),
  serviceAddress: z.string().nullable(),
  /** IPv6 addresses are made from the MAC (SLAAC). */
  eui64: z.boolean(),
});
export type PoolRange = z.infer<typeof PoolRange>;

/**
 * One stream per network guards what must be unique in it by expected revision: ranges that do not overlap, MACs, and
 * addresses; a port takes all of its own in one event.
 */
export const addressPoolEvents = eventSet({
  stream: 'address-pool',
  writer: 'api-gateway',
  events: {
    AddressRangeAdded: event(
      'The network hands out addresses of this range.',
      z.object({ networkId: NetworkId, range: PoolRange }),
    ),
    AddressRangeChanged: event(
      'The range is now handed out like this.',
      z.object({ networkId: NetworkId, range: PoolRange }),
    ),
    AddressRangeRemoved: event('The range is no longer used.', z.object({ networkId: NetworkId, subnetId: SubnetId })),
    AddressesAllocated: event(
      'A port holds this MAC and these addresses, and no others.',
      z.object({
        networkId: NetworkId,
        portId: PortId,
        projectId: ProjectId,
        mac: z.string(),
        fixedIps: z.array(FixedIp),
      }),
    ),
    AddressesReleased: event(
      'The port gave its MAC and addresses back.',
      z.object({ networkId: NetworkId, portId: PortId }),
    ),
    AddressPoolClosed: event(
      'The network is going away: nothing is handed out any more.',
      z.object({ networkId: NetworkId }),
    ),
  },
});
export type AddressPoolEvent = EventOf<typeof addressPoolEvents>;

/** One stream for each physical network, named after it, guards that a segment is one network's only. */
export const physicalNetworkEvents = eventSet({
  stream: 'physical-network',
  writer: 'api-gateway',
  events: {
    SegmentTaken: event(
      'A network has this segment of the physical network, and no other has it.',
      z.object({ networkId: NetworkId, segment: ProviderSegment }),
    ),
    SegmentReturned: event(
      'The network gave its segment back.',
      z.object({ networkId: NetworkId, physicalNetwork: z.string() }),
    ),
  },
});
export type PhysicalNetworkEvent = EventOf<typeof physicalNetworkEvents>;

export const AllowedAddressPair = z.object({ mac: z.string().nullable(), address: z.string() });
export type AllowedAddressPair = z.infer<typeof AllowedAddressPair>;

export const PortAttributes = z.object({
  name: z.string(),
  description: z.string(),
  adminUp: z.boolean(),
  deviceId: z.string(),
  deviceOwner: z.string(),
  mac: z.string(),
  fixedIps: z.array(FixedIp),
  securityGroups: z.array(SecurityGroupId),
  portSecurity: z.boolean(),
  allowedAddressPairs: z.array(AllowedAddressPair),
  extraDhcpOptions: z.array(z.object({ name: z.string(), value: z.string(), version: Version })),
  dnsName: z.string(),
  vnicType: z.string(),
  /** `binding:profile`, kept as given. */
  bindingProfile: z.record(z.string(), z.unknown()),
  /** `binding:host_id` as an administrator set it; a server's build binds by `PortBound`. */
  bindingHost: z.string(),
});
export type PortAttributes = z.infer<typeof PortAttributes>;

/** A port as its network, its groups and its host see it: carried by each event that may change one of them. */
export const PortOutline = z.object({
  networkId: NetworkId,
  securityGroups: z.array(SecurityGroupId),
  mac: z.string(),
  addresses: z.array(z.string()),
  hostname: z.string(),
  hostId: HostId.nullable(),
});
export type PortOutline = z.infer<typeof PortOutline>;
const outline = { before: PortOutline, after: PortOutline };

export const portEvents = eventSet({
  stream: 'port',
  writer: 'api-gateway',
  events: {
    PortCreated: event(
      'A network got a port.',
      z.object({
        portId: PortId,
        networkId: NetworkId,
        projectId: ProjectId,
        attributes: PortAttributes,
        /** The server whose build made the port; its deletion removes it. */
        madeFor: ServerId.nullable(),
        hostname: z.string(),
        /** The host that its server has a place on; without one the port is bound later, or never. */
        host: z.object({ id: HostId, name: z.string() }).optional(),
      }),
    ),
    PortCreateAbandoned: event(
      'A request for a port never got beyond its addresses; the id is barred so that it cannot come late.',
      z.object({ portId: PortId }),
    ),
    PortChanged: event(
      'The named attributes of the port are now these.',
      z.object({ portId: PortId, changes: PortAttributes.partial(), ...outline }),
    ),
    PortTagged: event('The tags of the port are now these.', z.object({ portId: PortId, tags: Tags })),
    PortAttached: event(
      'A server took the port.',
      z.object({ portId: PortId, serverId: ServerId, deviceOwner: z.string(), hostname: z.string(), ...outline }),
    ),
    PortBound: event(
      'The port is on this host.',
      z.object({ portId: PortId, hostId: HostId, hostName: z.string(), ...outline }),
    ),
    PortDetached: event('The server gave the port back to its owner.', z.object({ portId: PortId, ...outline })),
    PortDeleted: event('The port is gone.', z.object({ portId: PortId, before: PortOutline })),
  },
});
export type PortEvent = EventOf<typeof portEvents>;

export const SecurityGroupRule = z.object({
  id: SecurityGroupRuleId,
  direction: z.enum(['ingress', 'egress']),
  ethertype: z.enum(['IPv4', 'IPv6']),
  /** As the caller wrote it: a name such as `tcp` or a number in text; null means any. */
  protocol: z.string().nullable(),
  portMin: z.number().int().nullable(),
  portMax: z.number().int().nullable(),
  remotePrefix: z.string().nullable(),
  remoteGroup: SecurityGroupId.nullable(),
  description: z.string(),
});
export type SecurityGroupRule = z.infer<typeof SecurityGroupRule>;

export const securityGroupEvents = eventSet({
  stream: 'security-group',
  writer: 'api-gateway',
  events: {
    SecurityGroupCreated: event(
      'A security group was made.',
      z.object({
        securityGroupId: SecurityGroupId,
        projectId: ProjectId,
        name: z.string(),
        description: z.string(),
        stateful: z.boolean(),
        isDefault: z.boolean(),
        rules: z.array(SecurityGroupRule),
      }),
    ),
    SecurityGroupCreateAbandoned: event(
      'A request for a security group never got beyond its quota; the id is barred so that it cannot come late.',
      z.object({ securityGroupId: SecurityGroupId }),
    ),
    SecurityGroupChanged: event(
      'The named attributes of the security group are now these.',
      z.object({
        securityGroupId: SecurityGroupId,
        name: z.string().optional(),
        description: z.string().optional(),
        stateful: z.boolean().optional(),
      }),
    ),
    SecurityGroupTagged: event(
      'The tags of the security group are now these.',
      z.object({ securityGroupId: SecurityGroupId, tags: Tags }),
    ),
    SecurityGroupRuleAdded: event(
      'The security group allows more.',
      z.object({ securityGroupId: SecurityGroupId, projectId: ProjectId, rule: SecurityGroupRule }),
    ),
    SecurityGroupRuleAbandoned: event(
      'A request for a rule never got beyond its quota; the id is barred so that it cannot come late.',
      z.object({ securityGroupId: SecurityGroupId, ruleId: SecurityGroupRuleId }),
    ),
    SecurityGroupRuleRemoved: event(
      'The security group allows less.',
      z.object({ securityGroupId: SecurityGroupId, ruleId: SecurityGroupRuleId }),
    ),
    SecurityGroupDeleted: event(
      'The security group is gone, with its rules.',
      z.object({ securityGroupId: SecurityGroupId, ruleIds: z.array(SecurityGroupRuleId) }),
    ),
  },
});
export type SecurityGroupEvent = EventOf<typeof securityGroupEvents>;

/** Amounts by resource as Neutron names them: `network`, `subnet`, `port`, `security_group`, … -1 means unlimited. */
const Limits = z.record(z.string(), z.number().int());

/** One stream per project guards how many resources of each kind it has. */
export const networkQuotaEvents = eventSet({
  stream: 'network-quota',
  writer: 'api-gateway',
  events: {
    NetworkQuotaLimitsSet: event(
      'Limits of the project are now these; a resource that is not named keeps its limit.',
      z.object({ projectId: ProjectId, limits: Limits }),
    ),
    NetworkQuotaLimitsReset: event('The project uses the default limits again.', z.object({ projectId: ProjectId })),
    NetworkQuotaTaken: event(
      'A resource with this id counts against its limit.',
      z.object({
        projectId: ProjectId,
        resource: z.string(),
        ids: z.array(z.string()),
        /** What they are parts of, where they have no streams of their own: the security group of rules. */
        parent: z.string().optional(),
      }),
    ),
    NetworkQuotaReturned: event(
      'Resources with these ids no longer count.',
      z.object({ projectId: ProjectId, resource: z.string(), ids: z.array(z.string()) }),
    ),
  },
});
export type NetworkQuotaEvent = EventOf<typeof networkQuotaEvents>;
