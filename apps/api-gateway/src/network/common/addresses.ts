import type { AllocationPool } from '@omnivisor/contracts';
import ipaddr from 'ipaddr.js';

/** An address as a number, with its version: what ranges are made of. */
export interface Address {
  readonly version: 4 | 6;
  readonly value: bigint;
}

export interface Cidr {
  readonly version: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
  readonly prefix: number;
}

const strictV4 = /^(\d{1,3}\.){3}\d{1,3}$/;

/** The address a text says, or null. Octal, hexadecimal and shortened IPv4 forms are none; nor are zones. */
export const parseAddress = (text: string): Address | null => {
  const isV4 = strictV4.test(text) && !/(^|\.)0\d/.test(text);
  if (!isV4 && (!text.includes(':') || text.includes('%'))) return null;
  if (!ipaddr.isValid(text)) return null;
  const parsed = ipaddr.parse(text);
  const value = BigInt(`0x${Buffer.from(parsed.toByteArray()).toString('hex')}`);
  return { version: parsed.kind() === 'ipv4' ? 4 : 6, value };
};

export const formatAddress = ({ version, value }: Address): string => {
  const hex = value.toString(16).padStart(version === 4 ? 8 : 32, '0');
  return ipaddr.fromByteArray([...Buffer.from(hex, 'hex')]).toString();
};

/** Canonical text of an address; null when it is none. */
export const canonicalAddress = (text: string): string | null => {
  const address = parseAddress(text);
  return address && formatAddress(address);
};

/** The range a text says, host bits ignored; null when it is none. */
export const parseCidr = (text: string): Cidr | null => {
  const [base, length, ...rest] = text.split('/');
  if (base === undefined || length === undefined || rest.length > 0 || !/^\d{1,3}$/.test(length)) return null;
  const address = parseAddress(base);
  const bits = address?.version === 4 ? 32 : 128;
  const prefix = Number(length);
  if (!address || prefix > bits) return null;
  const size = 1n << BigInt(bits - prefix);
  const first = (address.value / size) * size;
  return { version: address.version, first, last: first + size - 1n, prefix };
};

export const formatCidr = (cidr: Cidr): string =>
  `${formatAddress({ version: cidr.version, value: cidr.first })}/${cidr.prefix}`;

/** Canonical text of a range without host bits; null when it is none. */
export const canonicalCidr = (text: string): string | null => {
  const cidr = parseCidr(text);
  return cidr && formatCidr(cidr);
};

export const contains = (cidr: Cidr, address: Address): boolean =>
  cidr.version === address.version && cidr.first <= address.value && address.value <= cidr.last;

export const overlap = (a: Cidr, b: Cidr): boolean => a.version === b.version && a.first <= b.last && b.first <= a.last;

/** First and last address that a port may have: without network and broadcast address where there are such. */
export const usable = (cidr: Cidr): { readonly first: bigint; readonly last: bigint } => {
  const bits = cidr.version === 4 ? 32 : 128;
  if (cidr.prefix >= bits - 1) return { first: cidr.first, last: cidr.last };
  return { first: cidr.first + 1n, last: cidr.version === 4 ? cidr.last - 1n : cidr.last };
};

export const isUsable = (cidr: Cidr, address: Address): boolean => {
  const { first, last } = usable(cidr);
  return address.version === cidr.version && first <= address.value && address.value <= last;
};

/** Everything usable but the gateway: Neutron's default. */
export const defaultPools = (cidr: Cidr, gateway: Address | null): AllocationPool[] => {
  const { first, last } = usable(cidr);
  const text = (value: bigint) => formatAddress({ version: cidr.version, value });
  const pools: AllocationPool[] = [];
  const push = (a: bigint, b: bigint) => {
    if (a <= b) pools.push({ start: text(a), end: text(b) });
  };
  if (gateway && gateway.value >= first && gateway.value <= last) {
    push(first, gateway.value - 1n);
    push(gateway.value + 1n, last);
  } else push(first, last);
  return pools;
};

/**
 * The lowest address of the pools that is not taken; null when all are.
 * @param from an address below which all are taken
 */
export const lowestFree = (
  pools: readonly AllocationPool[],
  taken: (address: string) => boolean,
  from: string | null = null,
): string | null => {
  const least = (from === null ? null : parseAddress(from))?.value ?? 0n;
  for (const pool of pools) {
    const start = parseAddress(pool.start);
    const end = parseAddress(pool.end);
    if (!start || !end) continue;
    for (let value = least > start.value ? least : start.value; value <= end.value; value++) {
      const text = formatAddress({ version: start.version, value });
      if (!taken(text)) return text;
    }
  }
  return null;
};

/** The address SLAAC gives a MAC in a /64 (RFC 4291, modified EUI-64). */
export const eui64 = (cidr: Cidr, mac: string): string => {
  const octets = mac.split(':').map((o) => Number.parseInt(o, 16));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = octets;
  const id = Buffer.from([a ^ 2, b, c, 0xff, 0xfe, d, e, f]).toString('hex');
  return formatAddress({ version: 6, value: cidr.first + BigInt(`0x${id}`) });
};

export const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
