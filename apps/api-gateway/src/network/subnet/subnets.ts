import type {
  CommandContext,
  Ipv6Mode,
  NetworkId,
  PoolRange,
  ProjectId,
  SubnetAttributes,
  SubnetId,
} from '@omnivisor/contracts';
import type { GatewayCore } from '../../core/gateway-core.js';
import { addressPool } from '../address-pool/address-pool.js';
import { defaultPools, lowestFree, parseAddress, parseCidr } from '../common/addresses.js';
import type { View } from '../common/collection.js';
import { step } from '../common/context.js';
import { badRequest, invalidInput } from '../common/errors.js';
import { networkQuota } from '../quota/network-quota.js';
import { checkGateway, checkPools, firstAddress, serviceAddressOf } from './ranges.js';
import { subnet } from './subnet.js';
import type { SubnetRow } from './subnet.projection.js';

type Pools = SubnetAttributes['allocationPools'];

/** Subnets and their ranges in the pool of the network: the range comes first and goes first. */
export class Subnets {
  constructor(private readonly core: GatewayCore) {}

  /** @throws DomainError */
  async create(given: View, networkId: NetworkId, projectId: ProjectId, context: CommandContext): Promise<SubnetId> {
    const subnetId = this.core.ids.uuid() as SubnetId;
    if (typeof given.cidr !== 'string')
      throw badRequest('Bad subnets request: a subnetpool must be specified in the absence of a cidr.');
    const cidr = parseCidr(given.cidr)!;
    const version = (given.ip_version ?? cidr.version) as 4 | 6;
    if (version !== cidr.version) throw invalidInput(`cidr '${given.cidr}' does not match the ip_version '${version}'`);
    checkServed(version, cidr.prefix, given.enable_dhcp !== false);
    const addressMode = (given.ipv6_address_mode ?? null) as Ipv6Mode | null;
    const raMode = (given.ipv6_ra_mode ?? null) as Ipv6Mode | null;
    checkModes(version, addressMode, raMode, given.enable_dhcp !== false);
    const eui64 = [addressMode, raMode].some((mode) => mode === 'slaac' || mode === 'dhcpv6-stateless');
    if (eui64 && cidr.prefix !== 64)
      throw invalidInput(
        `Invalid CIDR ${given.cidr} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64`,
      );
    const givenPools = given.allocation_pools as Pools | undefined;
    const gateway = given.gateway_ip === undefined ? firstAddress(cidr) : (given.gateway_ip as string | null);
    const pools = givenPools ?? defaultPools(cidr, gateway === null ? null : parseAddress(gateway));
    checkPools(cidr, pools);
    if (gateway !== null) checkGateway(cidr, gateway, pools);
    checkRoutes(given.host_routes as SubnetAttributes['hostRoutes'] | undefined, version);
    const dhcp = (given.enable_dhcp as boolean | undefined) ?? true;
    const range: PoolRange = {
      subnetId,
      version,
      cidr: given.cidr,
      gateway,
      allocationPools: pools,
      serviceAddress: null,
      eui64,
    };
    const serviceAddress = serviceAddressOf(range, dhcp, () => lowestFree(pools, () => false));
    const { commands } = this.core;
    const quota = { projectId, resource: 'subnet' as const, ids: [subnetId] };
    await commands.execute(networkQuota, projectId, { type: 'take', ...quota }, step(context, 'quota'));
    try {
      await commands.execute(
        addressPool,
        networkId,
        { type: 'addRange', networkId, range: { ...range, serviceAddress } },
        step(context, 'range'),
      );
    } catch (error) {
      await commands.execute(networkQuota, projectId, { type: 'giveBack', ...quota }, step(context, 'quota back'));
      throw error;
    }
    await commands.execute(
      subnet,
      subnetId,
      {
        type: 'create',
        subnetId,
        networkId,
        projectId,
        version,
        cidr: given.cidr,
        ipv6AddressMode: addressMode,
        ipv6RaMode: raMode,
        attributes: {
          name: (given.name as string | undefined) ?? '',
          description: (given.description as string | undefined) ?? '',
          gateway,
          dhcp,
          allocationPools: pools,
          dnsNameservers: (given.dns_nameservers as string[] | undefined) ?? [],
          hostRoutes: (given.host_routes as SubnetAttributes['hostRoutes'] | undefined) ?? [],
          serviceTypes: (given.service_types as string[] | undefined) ?? [],
          serviceAddress,
        },
      },
      context,
    );
    return subnetId;
  }

  /** @throws DomainError */
  async change(row: SubnetRow, given: View, ifRevision: number | undefined, context: CommandContext): Promise<void> {
    const cidr = parseCidr(row.cidr)!;
    const before = row.attributes;
    const gateway = given.gateway_ip === undefined ? before.gateway : (given.gateway_ip as string | null);
    const allocationPools = (given.allocation_pools as Pools | undefined) ?? before.allocationPools;
    const dhcp = (given.enable_dhcp as boolean | undefined) ?? before.dhcp;
    if (!before.dhcp) checkServed(row.version, cidr.prefix, dhcp);
    checkPools(cidr, allocationPools);
    if (gateway !== null) checkGateway(cidr, gateway, allocationPools);
    checkRoutes(given.host_routes as SubnetAttributes['hostRoutes'] | undefined, row.version);
    const { commands } = this.core;
    const pool = await commands.load(addressPool, row.networkId);
    const range = pool.ranges.get(row.id);
    let { serviceAddress } = before;
    if (range) {
      const wanted = { ...range, gateway, allocationPools };
      serviceAddress = serviceAddressOf(wanted, dhcp, () =>
        lowestFree(allocationPools, (a) => pool.addresses.has(`${row.id} ${a}`)),
      );
      await commands.execute(
        addressPool,
        row.networkId,
        { type: 'changeRange', networkId: row.networkId, range: { ...wanted, serviceAddress } },
        step(context, 'range'),
      );
    }
    const optional = <T>(name: string, value: unknown): Partial<T> =>
      (value === undefined ? {} : { [name]: value }) as Partial<T>;
    await commands.execute(
      subnet,
      row.id,
      {
        type: 'change',
        subnetId: row.id,
        ifRevision,
        changes: {
          gateway,
          dhcp,
          allocationPools,
          serviceAddress,
          ...optional<SubnetAttributes>('name', given.name),
          ...optional<SubnetAttributes>('description', given.description),
          ...optional<SubnetAttributes>('dnsNameservers', given.dns_nameservers),
          ...optional<SubnetAttributes>('hostRoutes', given.host_routes),
          ...optional<SubnetAttributes>('serviceTypes', given.service_types),
        },
      },
      context,
    );
  }

  /** @throws DomainError `conflict` while a port has an address of it */
  async delete(row: SubnetRow, context: CommandContext): Promise<void> {
    const { commands } = this.core;
    const { networkId, projectId } = row;
    await commands.execute(
      addressPool,
      networkId,
      { type: 'removeRange', networkId, subnetId: row.id },
      step(context, `${row.id} range`),
    );
    await commands.execute(subnet, row.id, { type: 'delete', subnetId: row.id }, step(context, `${row.id} delete`));
    await commands.execute(
      networkQuota,
      projectId,
      { type: 'giveBack', projectId, resource: 'subnet', ids: [row.id] },
      step(context, `${row.id} quota`),
    );
  }
}

/** DHCPv6 serves prefixes of 64 bits and longer ones. */
const checkServed = (version: 4 | 6, prefix: number, dhcp: boolean): void => {
  if (dhcp && (version === 4 ? prefix > 31 : prefix < 64))
    throw invalidInput('Subnet has a prefix length that is incompatible with DHCP service enabled');
};

const checkModes = (version: 4 | 6, address: Ipv6Mode | null, ra: Ipv6Mode | null, dhcp: boolean): void => {
  if (!address && !ra) return;
  if (version === 4) throw invalidInput('ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is set to 4');
  if (!dhcp) throw invalidInput('ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False');
  if (address && ra && address !== ra)
    throw invalidInput(
      `ipv6_ra_mode set to '${ra}' with ipv6_address_mode set to '${address}' is not valid. If both attributes are set, they must be the same value`,
    );
};

const checkRoutes = (routes: SubnetAttributes['hostRoutes'] | undefined, version: 4 | 6): void => {
  for (const { destination, nexthop } of routes ?? [])
    if (parseCidr(destination)?.version !== version || parseAddress(nexthop)?.version !== version)
      throw invalidInput(`Invalid route: ${destination} via ${nexthop} does not match the ip_version '${version}'`);
};
