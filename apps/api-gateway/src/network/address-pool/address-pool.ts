import {
  type AddressPoolEvent,
  addressPoolEvents,
  type FixedIp,
  type NetworkId,
  type PoolRange,
  type PortId,
  type ProjectId,
  type SubnetId,
} from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';
import {
  canonicalAddress,
  contains,
  eui64,
  isUsable,
  lowestFree,
  overlap,
  parseAddress,
  parseCidr,
} from '../common/addresses.js';
import {
  invalidIpForNetwork,
  invalidIpForSubnet,
  ipAddressInUse,
  macAddressInUse,
  networkInUse,
  networkNotFound,
  noMoreAddresses,
  overlappingSubnet,
  subnetInUse,
  subnetNotFound,
} from '../common/errors.js';

interface Holding {
  readonly mac: string;
  readonly fixedIps: readonly FixedIp[];
}

/** What is handed out on one network. */
export interface AddressPool {
  readonly closed: boolean;
  readonly ranges: ReadonlyMap<SubnetId, PoolRange>;
  readonly holdings: ReadonlyMap<PortId, Holding>;
  /** By `<subnet> <address>`. */
  readonly addresses: ReadonlyMap<string, PortId>;
  readonly macs: ReadonlyMap<string, PortId>;
}

/** Which address a port asks for: of a subnet, a certain one, or both. */
export interface WantedIp {
  readonly subnetId?: SubnetId | undefined;
  readonly address?: string | undefined;
}

export type AddressPoolCommand =
  | { readonly type: 'addRange'; readonly networkId: NetworkId; readonly range: PoolRange }
  | { readonly type: 'changeRange'; readonly networkId: NetworkId; readonly range: PoolRange }
  /** Refused while a port has an address of it, unless the address is made from the MAC. */
  | { readonly type: 'removeRange'; readonly networkId: NetworkId; readonly subnetId: SubnetId }
  | {
      readonly type: 'allocate';
      readonly networkId: NetworkId;
      readonly portId: PortId;
      readonly projectId: ProjectId;
      /** One that must be had, or some to choose the first free one from. */
      readonly mac: string | readonly string[];
      /** 'any': one address of each IP version that the network has. */
      readonly fixedIps: 'any' | readonly WantedIp[];
    }
  | { readonly type: 'release'; readonly networkId: NetworkId; readonly portId: PortId }
  | { readonly type: 'close'; readonly networkId: NetworkId };

const at = (subnetId: string, address: string) => `${subnetId} ${address}`;

const chooseMac = (
  pool: AddressPool,
  networkId: NetworkId,
  portId: PortId,
  mac: string | readonly string[],
): string => {
  const free = (m: string) => (pool.macs.get(m) ?? portId) === portId;
  if (typeof mac === 'string') {
    if (!free(mac)) throw macAddressInUse(networkId, mac);
    return mac;
  }
  const found = mac.find(free);
  if (found === undefined) throw macAddressInUse(networkId, mac[0] ?? '');
  return found;
};

const chooseIps = (
  pool: AddressPool,
  networkId: NetworkId,
  portId: PortId,
  mac: string,
  wanted: 'any' | readonly WantedIp[],
): FixedIp[] => {
  const chosen: FixedIp[] = [];
  const ranges = [...pool.ranges.values()];
  const taken = (range: PoolRange) => (address: string) =>
    (pool.addresses.get(at(range.subnetId, address)) ?? portId) !== portId ||
    range.serviceAddress === address ||
    chosen.some((c) => c.subnetId === range.subnetId && c.address === address);
  const next = (candidates: readonly PoolRange[]): FixedIp => {
    for (const range of candidates) {
      const address = range.eui64
        ? eui64(parseCidr(range.cidr)!, mac)
        : lowestFree(range.allocationPools, taken(range));
      if (address !== null) return { subnetId: range.subnetId, address };
    }
    throw noMoreAddresses(networkId);
  };
  if (wanted === 'any') {
    for (const version of [4, 6] as const) {
      const stateful = ranges.filter((r) => r.version === version && !r.eui64);
      if (stateful.length > 0) chosen.push(next(stateful));
    }
    for (const range of ranges.filter((r) => r.eui64)) chosen.push(next([range]));
    return chosen;
  }
  for (const { subnetId, address } of wanted) {
    const range = subnetId === undefined ? undefined : pool.ranges.get(subnetId);
    if (subnetId !== undefined && !range) throw subnetNotFound(subnetId);
    if (address === undefined) {
      chosen.push(next(range ? [range] : ranges));
      continue;
    }
    const parsed = parseAddress(address);
    const text = canonicalAddress(address);
    if (!parsed || text === null) throw invalidIpForNetwork(address);
    const home = range ?? ranges.find((r) => contains(parseCidr(r.cidr)!, parsed));
    if (!home) throw invalidIpForNetwork(address);
    if (!isUsable(parseCidr(home.cidr)!, parsed)) throw invalidIpForSubnet(address);
    if (taken(home)(text)) throw ipAddressInUse(networkId, text);
    chosen.push({ subnetId: home.subnetId, address: text });
  }
  return chosen;
};

const decide = (command: AddressPoolCommand, pool: AddressPool): AddressPoolEvent[] => {
  const { networkId } = command;
  switch (command.type) {
    case 'addRange': {
      if (pool.closed) throw networkNotFound(networkId);
      if (pool.ranges.has(command.range.subnetId)) return [];
      const cidr = parseCidr(command.range.cidr)!;
      for (const other of pool.ranges.values())
        if (overlap(cidr, parseCidr(other.cidr)!)) throw overlappingSubnet(networkId, command.range.cidr, other.cidr);
      return [{ type: 'AddressRangeAdded', data: { networkId, range: command.range } }];
    }
    case 'changeRange': {
      const { range } = command;
      const before = pool.ranges.get(range.subnetId);
      if (!before) throw subnetNotFound(range.subnetId);
      for (const address of [range.gateway, range.serviceAddress])
        if (address !== null && pool.addresses.has(at(range.subnetId, address)))
          throw ipAddressInUse(networkId, address);
      if (JSON.stringify(before) === JSON.stringify(range)) return [];
      return [{ type: 'AddressRangeChanged', data: { networkId, range } }];
    }
    case 'removeRange': {
      const range = pool.ranges.get(command.subnetId);
      if (!range) return [];
      const used = [...pool.holdings.values()].some((h) => h.fixedIps.some((ip) => ip.subnetId === command.subnetId));
      if (used && !range.eui64) throw subnetInUse(command.subnetId);
      return [{ type: 'AddressRangeRemoved', data: { networkId, subnetId: command.subnetId } }];
    }
    case 'allocate': {
      if (pool.closed) throw networkNotFound(networkId);
      const { portId, projectId } = command;
      const mac = chooseMac(pool, networkId, portId, command.mac);
      const held = pool.holdings.get(portId);
      if (held && command.fixedIps === 'any') return [];
      const fixedIps = chooseIps(pool, networkId, portId, mac, command.fixedIps);
      if (held && held.mac === mac && JSON.stringify(held.fixedIps) === JSON.stringify(fixedIps)) return [];
      return [{ type: 'AddressesAllocated', data: { networkId, portId, projectId, mac, fixedIps } }];
    }
    case 'release':
      if (!pool.holdings.has(command.portId)) return [];
      return [{ type: 'AddressesReleased', data: { networkId, portId: command.portId } }];
    case 'close':
      if (pool.closed) return [];
      if (pool.holdings.size > 0) throw networkInUse(networkId);
      return [{ type: 'AddressPoolClosed', data: { networkId } }];
  }
};

const without = (pool: AddressPool, portId: PortId): Pick<AddressPool, 'holdings' | 'addresses' | 'macs'> => {
  const held = pool.holdings.get(portId);
  if (!held) return pool;
  const holdings = new Map(pool.holdings);
  const addresses = new Map(pool.addresses);
  const macs = new Map(pool.macs);
  holdings.delete(portId);
  macs.delete(held.mac);
  for (const ip of held.fixedIps) addresses.delete(at(ip.subnetId, ip.address));
  return { holdings, addresses, macs };
};

const evolve = (pool: AddressPool, event: AddressPoolEvent): AddressPool => {
  switch (event.type) {
    case 'AddressRangeAdded':
    case 'AddressRangeChanged':
      return { ...pool, ranges: new Map(pool.ranges).set(event.data.range.subnetId, event.data.range) };
    case 'AddressRangeRemoved': {
      const ranges = new Map(pool.ranges);
      ranges.delete(event.data.subnetId);
      return { ...pool, ranges };
    }
    case 'AddressesAllocated': {
      const { portId, mac, fixedIps } = event.data;
      const rest = without(pool, portId);
      const addresses = new Map(rest.addresses);
      for (const ip of fixedIps) addresses.set(at(ip.subnetId, ip.address), portId);
      return {
        ...pool,
        holdings: new Map(rest.holdings).set(portId, { mac, fixedIps }),
        addresses,
        macs: new Map(rest.macs).set(mac, portId),
      };
    }
    case 'AddressesReleased':
      return { ...pool, ...without(pool, event.data.portId) };
    case 'AddressPoolClosed':
      return { ...pool, closed: true };
  }
};

export const addressPool: Aggregate<AddressPool, AddressPoolCommand, AddressPoolEvent> = {
  events: addressPoolEvents,
  initial: { closed: false, ranges: new Map(), holdings: new Map(), addresses: new Map(), macs: new Map() },
  decide,
  evolve,
};
