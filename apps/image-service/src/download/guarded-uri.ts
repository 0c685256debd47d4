import { invalid } from '@omnivisor/contracts';
import ipaddr from 'ipaddr.js';

/** From where imports may take bytes. */
export interface ImportRules {
  readonly ports: readonly number[];
  /** Networks (CIDR) that are allowed although they are not public: a mirror of the operator's own. */
  readonly networks: readonly string[];
}

const SCHEMES: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };
const MAX_URI = 4_096;

const refused = (why: string) => invalid(`URI for web-download does not pass filtering: ${why}`);

/** An address of its own, whatever it is wrapped in. */
const plain = (text: string): ipaddr.IPv4 | ipaddr.IPv6 => ipaddr.process(text);

/** True for what everybody on the internet can reach anyway, and for what the operator allows. */
export const isAllowedAddress = (text: string, rules: ImportRules): boolean => {
  if (!ipaddr.isValid(text)) return false;
  const address = plain(text);
  // Ranges that embed another address (NAT64, 6to4, Teredo) are not `unicast`, nor is anything local.
  if (address.range() === 'unicast') return true;
  return rules.networks.some((network) => {
    const [base, bits] = ipaddr.parseCIDR(network);
    return base.kind() === address.kind() && address.match(base as never, bits);
  });
};

/** The address a URI names without a name server; undefined for a name. */
export const literalAddress = (uri: URL): string | undefined => {
  const host = uri.hostname.replace(/^\[|\]$/g, '');
  return ipaddr.isValid(host) ? host : undefined;
};

/**
 * A URI that may be asked, as far as it shows by itself; names are checked when they are resolved.
 * @throws DomainError `invalid`
 */
export const checkedUri = (text: unknown, rules: ImportRules): URL => {
  if (typeof text !== 'string' || text.length > MAX_URI || !URL.canParse(text)) throw refused('it is no URI');
  const uri = new URL(text);
  const port = SCHEMES[uri.protocol];
  if (port === undefined) throw refused('only http and https are allowed');
  if (uri.username !== '' || uri.password !== '') throw refused('it holds a password');
  if (!rules.ports.includes(uri.port === '' ? port : Number(uri.port))) throw refused('its port is not allowed');
  const address = literalAddress(uri);
  if (uri.hostname === '' || (address !== undefined && !isAllowedAddress(address, rules)))
    throw refused('its address is not allowed');
  return uri;
};

/** What may be kept of a URI: a query is often a signature. */
export const shownUri = (uri: URL): string => `${uri.origin}${uri.pathname}`.slice(0, 1_000);
