import type { Invariant } from './evidence.js';
import { dataOf } from './places.js';

type Amounts = Readonly<Record<string, number>>;
const sameAmounts = (one: Amounts, other: Amounts): boolean =>
  [...new Set([...Object.keys(one), ...Object.keys(other)])].every((name) => (one[name] ?? 0) === (other[name] ?? 0));

/** What is taken of a quota is what the servers that are there take, and never more than its limit. */
export const quotaEqualsRecount: Invariant = ({ log }) => {
  const wrong: string[] = [];
  const owners = new Map<string, Amounts>();
  const limits: Record<string, number> = {};
  const servers = new Map<string, Amounts>();
  for (const event of log) {
    const data = dataOf(event) as never as {
      owner: string;
      serverId: string;
      amounts: Amounts;
      limits: Amounts;
      flavor: { readonly vcpus: number; readonly memory: number };
    };
    if (event.type === 'QuotaLimitsSet') Object.assign(limits, data.limits);
    else if (event.type === 'QuotaReleased') owners.delete(data.owner);
    else if (event.type === 'ServerCreateRequested')
      servers.set(data.serverId, { instances: 1, cores: data.flavor.vcpus, ram: data.flavor.memory });
    else if (event.type === 'ServerResourcesReleased') servers.delete(data.serverId);
    else if (event.type === 'QuotaReserved' || event.type === 'QuotaAmended') {
      owners.set(data.owner, data.amounts);
      for (const [name, limit] of Object.entries(limits)) {
        const used = [...owners.values()].reduce((sum, a) => sum + (a[name] ?? 0), 0);
        if (used > limit) wrong.push(`${used} of ${limit} ${name} were taken at ${event.position}`);
      }
    }
  }
  for (const owner of owners.keys())
    if (!servers.has(owner.replace('server:', ''))) wrong.push(`${owner} holds quota and is not there`);
  for (const [id, amounts] of servers) {
    const held = owners.get(`server:${id}`);
    if (!held) wrong.push(`${id} holds no quota`);
    else if (!sameAmounts(held, amounts)) wrong.push(`${id} holds ${JSON.stringify(held)} of its quota`);
  }
  return wrong;
};

/** No address of a network, and no MAC address, is held by two ports at a time. */
export const noDuplicateAddress: Invariant = ({ log }) => {
  const twice: string[] = [];
  const held = new Map<string, string>();
  const release = (port: string) => {
    for (const [address, by] of held) if (by === port) held.delete(address);
  };
  for (const event of log) {
    const data = dataOf(event) as never as {
      networkId: string;
      portId: string;
      mac: string;
      fixedIps: { subnetId: string; address: string }[];
    };
    if (event.type === 'AddressesReleased') release(data.portId);
    if (event.type !== 'AddressesAllocated') continue;
    release(data.portId);
    const addresses = data.fixedIps.map(({ subnetId, address }) => `${address} of subnet ${subnetId}`);
    for (const key of [...addresses, `${data.mac} of network ${data.networkId}`]) {
      if (held.has(key)) twice.push(`${key} has ${held.get(key)} and ${data.portId}`);
      held.set(key, data.portId);
    }
  }
  return twice;
};

/** At rest a port has a server, its addresses and its part of the quota; what has gone has none of them. */
export const everyPortHasItsServer: Invariant = ({ log }) => {
  const servers = new Set<string>();
  const ports = new Map<string, string>();
  const addressed = new Set<string>();
  const counted = new Set<string>();
  for (const event of log) {
    const data = dataOf(event) as never as {
      serverId: string;
      portId: string;
      madeFor: string;
      resource: string;
      ids: readonly string[];
    };
    const isOfPorts = data.resource === 'port';
    if (event.type === 'ServerCreateRequested') servers.add(data.serverId);
    else if (event.type === 'ServerResourcesReleased') servers.delete(data.serverId);
    else if (event.type === 'PortCreated') ports.set(data.portId, data.madeFor);
    else if (event.type === 'PortDeleted') ports.delete(data.portId);
    else if (event.type === 'AddressesAllocated') addressed.add(data.portId);
    else if (event.type === 'AddressesReleased') addressed.delete(data.portId);
    else if (event.type === 'NetworkQuotaTaken' && isOfPorts) for (const id of data.ids) counted.add(id);
    else if (event.type === 'NetworkQuotaReturned' && isOfPorts) for (const id of data.ids) counted.delete(id);
  }
  const held = [...new Set([...addressed, ...counted])].filter((id) => !ports.has(id));
  return [
    ...held.map((id) => `port ${id} holds addresses or quota and is not there`),
    ...[...ports].flatMap(([id, serverId]) => [
      ...(servers.has(serverId) ? [] : [`port ${id} is there, and its server ${serverId} is not`]),
      ...(addressed.has(id) ? [] : [`port ${id} has no addresses`]),
      ...(counted.has(id) ? [] : [`port ${id} takes nothing of the quota`]),
    ]),
  ];
};
