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
import { Map as ImmutableMap } from 'immutable';
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
  readonly ranges: ImmutableMap<SubnetId, PoolRange>;
  readonly holdings: ImmutableMap<PortId, Holding>;
  /** By `<subnet> <address>`. */
  readonly addresses: ImmutableMap<string, PortId>;
  readonly macs: ImmutableMap<string, PortId>;
  /** The lowest free address of each range's allocation pools; null when they are exhausted. */
  readonly lowest: ImmutableMap<SubnetId, string | null>;
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
  // A port that holds addresses may have the lowest that is free for it below those that are free for all.
  const holds = pool.holdings.has(portId);
  const lowest = (range: PoolRange): string | null => {
    const from = pool.lowest.get(range.subnetId) ?? null;
    if (from === null && !holds) return null;
    return lowestFree(range.allocationPools, taken(range), holds ? null : from);
  };
  const next = (candidates: readonly PoolRange[]): FixedIp => {
    for (const range of candidates) {
      const address = range.eui64 ? eui64(parseCidr(range.cidr)!, mac) : lowest(range);
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

const lowestOf = (range: PoolRange, addresses: AddressPool['addresses'], from: string | null): string | null =>
  range.eui64
    ? null
    : lowestFree(
        range.allocationPools,
        (address) => range.serviceAddress === address || addresses.has(at(range.subnetId, address)),
        from,
      );

const withRange = (pool: AddressPool, range: PoolRange): AddressPool => ({
  ...pool,
  ranges: pool.ranges.set(range.subnetId, range),
  lowest: pool.lowest.set(range.subnetId, lowestOf(range, pool.addresses, null)),
});

const without = (pool: AddressPool, portId: PortId): AddressPool => {
  const held = pool.holdings.get(portId);
  if (!held) return pool;
  let { addresses, lowest } = pool;
  for (const { subnetId, address } of held.fixedIps) {
    addresses = addresses.delete(at(subnetId, address));
    const range = pool.ranges.get(subnetId);
    if (!range || range.eui64 || !inPools(range, address)) continue;
    const least = lowest.get(subnetId) ?? null;
    if (least === null || isBelow(address, least)) lowest = lowest.set(subnetId, address);
  }
  return { ...pool, holdings: pool.holdings.delete(portId), macs: pool.macs.delete(held.mac), addresses, lowest };
};

const isBelow = (a: string, b: string): boolean => parseAddress(a)!.value < parseAddress(b)!.value;

const inPools = (range: PoolRange, address: string): boolean =>
  range.serviceAddress !== address &&
  range.allocationPools.some(({ start, end }) => !isBelow(address, start) && !isBelow(end, address));

const evolve = (pool: AddressPool, event: AddressPoolEvent): AddressPool => {
  switch (event.type) {
    case 'AddressRangeAdded':
    case 'AddressRangeChanged':
      return withRange(pool, event.data.range);
    case 'AddressRangeRemoved': {
      const { subnetId } = event.data;
      return { ...pool, ranges: pool.ranges.delete(subnetId), lowest: pool.lowest.delete(subnetId) };
    }
    case 'AddressesAllocated': {
      const { portId, mac, fixedIps } = event.data;
      const rest = without(pool, portId);
      let { addresses, lowest } = rest;
      for (const { subnetId, address } of fixedIps) addresses = addresses.set(at(subnetId, address), portId);
      for (const { subnetId, address } of fixedIps) {
        const range = rest.ranges.get(subnetId);
        if (range && lowest.get(subnetId) === address)
          lowest = lowest.set(subnetId, lowestOf(range, addresses, address));
      }
      const holdings = rest.holdings.set(portId, { mac, fixedIps });
      return { ...rest, holdings, addresses, lowest, macs: rest.macs.set(mac, portId) };
    }
    case 'AddressesReleased':
      return without(pool, event.data.portId);
    case 'AddressPoolClosed':
      return { ...pool, closed: true };
  }
};

export const addressPool: Aggregate<AddressPool, AddressPoolCommand, AddressPoolEvent> = {
  events: addressPoolEvents,
  initial: {
    closed: false,
    ranges: ImmutableMap(),
    holdings: ImmutableMap(),
    addresses: ImmutableMap(),
    macs: ImmutableMap(),
    lowest: ImmutableMap(),
  },
  kept: {
    version: '1',
    write: ({ closed, ranges, holdings, addresses, macs, lowest }) => ({
      ...{ closed, ranges: [...ranges], holdings: [...holdings] },
      ...{ addresses: [...addresses], macs: [...macs], lowest: [...lowest] },
    }),
    read: (written) => {
      const { closed, ...maps } = written as { closed: boolean } & Record<string, [never, never][]>;
      const entries = Object.entries(maps).map(([name, map]) => [name, ImmutableMap(map)]);
      return { closed, ...Object.fromEntries(entries) };
    },
  },
  decide,
  evolve,
};
