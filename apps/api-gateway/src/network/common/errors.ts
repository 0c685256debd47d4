import { DomainError, type ErrorKind } from '@omnivisor/contracts';

/** An error as Neutron names it: the name is the `type` of its answer. */
const error = (kind: ErrorKind, name: string, message: string) => new DomainError(kind, message, { name });

export const badRequest = (message: string) => error('invalid', 'HTTPBadRequest', message);
export const invalidInput = (message: string) =>
  error('invalid', 'InvalidInput', `Invalid input for operation: ${message}.`);

export const networkNotFound = (id: string) =>
  error('notFound', 'NetworkNotFound', `Network ${id} could not be found.`);
export const subnetNotFound = (id: string) => error('notFound', 'SubnetNotFound', `Subnet ${id} could not be found.`);
export const portNotFound = (id: string) => error('notFound', 'PortNotFound', `Port ${id} could not be found.`);
export const securityGroupNotFound = (id: string) =>
  error('notFound', 'SecurityGroupNotFound', `Security group ${id} does not exist`);
export const securityGroupRuleNotFound = (id: string) =>
  error('notFound', 'SecurityGroupRuleNotFound', `Security group rule ${id} does not exist`);

export const networkInUse = (id: string) =>
  error(
    'conflict',
    'NetworkInUse',
    `Unable to complete operation on network ${id}. There are one or more ports still in use on the network.`,
  );
export const subnetInUse = (id: string) =>
  error(
    'conflict',
    'SubnetInUse',
    `Unable to complete operation on subnet ${id}: One or more ports have an IP allocation from this subnet.`,
  );
export const portInUse = (id: string, networkId: string, device: string) =>
  error(
    'conflict',
    'PortInUse',
    `Unable to complete operation on port ${id} for network ${networkId}. Port already has an attached device ${device}.`,
  );
export const securityGroupInUse = (id: string) =>
  error('conflict', 'SecurityGroupInUse', `Security Group ${id} in use.`);
export const statelessGroup = (id: string) =>
  error(
    'conflict',
    'SecurityGroupConflict',
    `Error Security group ${id} is stateless, which hosts cannot enforce while attempting the operation.`,
  );
export const ipAddressInUse = (networkId: string, address: string) =>
  error(
    'conflict',
    'IpAddressInUse',
    `Unable to complete operation for network ${networkId}. The IP address ${address} is in use.`,
  );
export const macAddressInUse = (networkId: string, mac: string) =>
  error(
    'conflict',
    'MacAddressInUse',
    `Unable to complete operation for network ${networkId}. The mac address ${mac} is in use.`,
  );
export const noMoreAddresses = (networkId: string) =>
  error('conflict', 'IpAddressGenerationFailure', `No more IP addresses available on network ${networkId}.`);
export const invalidIpForNetwork = (address: string) =>
  error(
    'invalid',
    'InvalidIpForNetwork',
    `IP address ${address} is not a valid IP for any of the subnets on the specified network.`,
  );
export const invalidIpForSubnet = (address: string) =>
  error('invalid', 'InvalidIpForSubnet', `IP address ${address} is not a valid IP for the specified subnet.`);
export const overlappingSubnet = (networkId: string, cidr: string, other: string) =>
  invalidInput(
    `Requested subnet with cidr: ${cidr} for network: ${networkId} overlaps with another subnet (CIDR: ${other})`,
  );
export const ruleExists = (id: string) =>
  error('conflict', 'SecurityGroupRuleExists', `Security group rule already exists. Rule id is ${id}.`);
export const flatNetworkInUse = (physicalNetwork: string) =>
  error(
    'conflict',
    'FlatNetworkInUse',
    `Unable to create the flat network. Physical network ${physicalNetwork} is in use.`,
  );
export const vlanIdInUse = (vlan: number, physicalNetwork: string) =>
  error(
    'conflict',
    'VlanIdInUse',
    `Unable to create the network. The VLAN ${vlan} on physical network ${physicalNetwork} is in use.`,
  );
/** In Nova's words. */
export const groupsNotApplicable = () =>
  error(
    'invalid',
    'SecurityGroupCannotBeApplied',
    'Network requires port_security_enabled and subnet associated in order to apply security groups.',
  );
/** Neutron answers 409 to an exceeded quota. */
export const overQuota = (resources: readonly string[]) =>
  error('conflict', 'OverQuota', `Quota exceeded for resources: [${resources.map((r) => `'${r}'`).join(', ')}].`);
export const staleRevision = (expected: number, current: number) =>
  error('stale', 'RevisionNumberConstraintFailed', `Constrained to ${expected}, but current revision is ${current}`);

export const neutronError = error;
