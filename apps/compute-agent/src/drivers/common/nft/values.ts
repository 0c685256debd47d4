import { isIPv4, isIPv6 } from 'node:net';

/** Values of a plan become text of nft, dnsmasq and ip only through these. */
class BadValue extends Error {
  constructor(kind: string, value: string) {
    super(`not a ${kind}: ${JSON.stringify(value.slice(0, 80))}`);
    this.name = 'BadValue';
  }
}

export const checked = (kind: string, holds: (value: string) => boolean) => (value: string) => {
  if (!holds(value)) throw new BadValue(kind, value);
  return value;
};

export const uuid = checked('UUID', (v) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(v));
export const mac = checked('MAC', (v) => /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(v));
export const address = checked('address', (v) => (isIPv4(v) || isIPv6(v)) && !v.includes('%'));
export const cidr = checked('CIDR', (v) => {
  const [base = '', prefix = '', ...rest] = v.split('/');
  const max = isIPv4(base) ? 32 : isIPv6(base) ? 128 : -1;
  return rest.length === 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= max && !base.includes('%');
});
export const addressOrCidr = (v: string) => (v.includes('/') ? cidr(v) : address(v));
/** A host name that DHCP may hand out; null when the text is none. */
export const hostname = (v: string): string | null => (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(v) ? v : null);
/** Name or number of a DHCP option; null when the text is none. */
export const dhcpOption = (v: string): string | null => (/^[a-z0-9][a-z0-9-]{0,63}$/i.test(v) ? v : null);
export const line = checked('line', (v) => !/[\p{Cc}\u2028\u2029]/u.test(v));
export const isV6 = (v: string): boolean => v.includes(':');
export const port = (n: number): number => {
  if (!Number.isInteger(n) || n < 0 || n > 65535) throw new BadValue('port', `${n}`);
  return n;
};
export const mtu = (n: number): number => {
  if (!Number.isInteger(n) || n < 68 || n > 65535) throw new BadValue('MTU', `${n}`);
  return n;
};
export const vlanId = (n: number): number => {
  if (!Number.isInteger(n) || n < 1 || n > 4094) throw new BadValue('VLAN', `${n}`);
  return n;
};
export const protocol = (v: string): number => {
  const names: Record<string, number> = { tcp: 6, udp: 17, icmp: 1, icmpv6: 58, 'ipv6-icmp': 58, sctp: 132 };
  const n = names[v] ?? (/^\d{1,3}$/.test(v) ? Number(v) : -1);
  if (n < 0 || n > 255) throw new BadValue('protocol', v);
  return n;
};

/** Prefix length as a dotted mask, e.g. 255.255.255.0. */
export const netmask = (prefix: number): string => {
  const bits = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join('.');
};
