import { type GuestNic, HypervisorError, type PortGuard } from '../hypervisor-driver.js';

/** An extended ACL of an adapter. The higher weight wins. */
export interface Acl {
  readonly Direction: 'Inbound' | 'Outbound';
  readonly Action: 'Allow' | 'Deny';
  readonly Weight: number;
  readonly LocalIPAddress?: string;
  readonly RemoteIPAddress?: string;
  readonly LocalPort?: string;
  readonly RemotePort?: string;
  readonly Protocol?: string;
  readonly Stateful?: boolean;
  /** Seconds. */
  readonly IdleSessionTimeout?: number;
  readonly IsolationID?: number;
}

const MAX_WEIGHT = 65_500;
const DHCP = { RemoteIPAddress: '0.0.0.0/0', Protocol: 'UDP', LocalPort: '68', RemotePort: '67', Stateful: false };
const NUMBERS: Readonly<Record<string, string>> = {
  icmp: '1',
  tcp: 'TCP',
  udp: 'UDP',
  '6': 'TCP',
  '17': 'UDP',
  any: '',
  '0': '',
};

const refuse = (what: string): never => {
  throw new HypervisorError('unsupported', `Hyper-V cannot enforce ${what}`);
};

/**
 * A port's guard as extended ACLs: what is not let through is dropped, and nothing leaves but from the port's addresses.
 *
 * Hyper-V keeps state for TCP and UDP only, so answers to ICMP need a rule of their own direction; and it does not tell
 * types of ICMP apart, without which IPv6 cannot be let through safely.
 * @throws HypervisorError `unsupported` for a guard that these cannot express: a port is never open by more than asked
 */
export const aclsFor = ({ mac }: Pick<GuestNic, 'mac'>, guard: PortGuard): Acl[] => {
  if (guard.addresses.some((a) => a.mac.toLowerCase() !== mac.toLowerCase()))
    refuse('an allowed address pair with another MAC address');
  if (guard.addresses.some((a) => a.ip.includes(':'))) refuse('a guarded port with an IPv6 address');
  const own = [...new Set(guard.addresses.map((a) => a.ip))];

  const allows: Omit<Acl, 'Weight' | 'Action'>[] = [
    // A lease is asked for before there is an address.
    { ...DHCP, Direction: 'Outbound' },
    { ...DHCP, Direction: 'Inbound' },
  ];
  // The guest has no IPv6, so the rules for it let nothing through.
  for (const rule of guard.rules.filter((r) => r.ethertype === 'IPv4')) {
    for (const protocol of protocolsOf(rule.protocol)) {
      const ports = portsOf(rule, protocol);
      for (const remote of rule.remotePrefixes)
        for (const local of rule.direction === 'egress' ? own : [undefined])
          allows.push({
            Direction: rule.direction === 'egress' ? 'Outbound' : 'Inbound',
            ...(local ? { LocalIPAddress: local } : {}),
            RemoteIPAddress: remote,
            Protocol: protocol,
            ...(ports === null ? {} : rule.direction === 'egress' ? { RemotePort: ports } : { LocalPort: ports }),
            Stateful: protocol === 'TCP' || protocol === 'UDP',
          });
    }
  }
  const distinct = [...new Map(allows.map((acl) => [JSON.stringify(acl), acl])).values()];
  if (distinct.length > MAX_WEIGHT - 2) refuse(`${distinct.length} rules on one port`);
  return [
    ...distinct.map((acl, i) => ({ ...acl, Action: 'Allow' as const, Weight: MAX_WEIGHT - i })),
    { Direction: 'Inbound', Action: 'Deny', Weight: 1 },
    { Direction: 'Outbound', Action: 'Deny', Weight: 1 },
  ];
};

/** No protocol means all; for state they have to be named. */
const protocolsOf = (protocol: string | null): string[] => {
  const known = NUMBERS[(protocol ?? 'any').toLowerCase()] ?? protocol!;
  if (known === '') return ['TCP', 'UDP', '1'];
  if (!/^(TCP|UDP|\d{1,3})$/.test(known)) refuse(`rules for the protocol ${protocol}`);
  return [known];
};

const portsOf = (rule: PortGuard['rules'][number], protocol: string): string | null => {
  const { portMin, portMax } = rule;
  if (portMin === null && portMax === null) return null;
  if (protocol !== 'TCP' && protocol !== 'UDP') refuse('types and codes of ICMP');
  const [low, high] = [portMin ?? 0, portMax ?? 65_535];
  return low === high ? String(low) : `${low}-${high}`;
};
