import type { SecurityGroupRule } from '@omnivisor/contracts';
import { pythonStr } from '@omnivisor/openstack';
import { neutronError } from '../common/errors.js';
import { PROTOCOLS, protocolNumber } from './rules.js';

const bad = (name: string, message: string) => neutronError('invalid', name, message);
const WITH_PORTS = new Set([6, 17, 33, 132, 136]);
const ONLY_V6 = new Set([58, 41, 44, 59, 60, 43]);

/** `protocol` of a request as it is kept. @throws DomainError `invalid` */
export const protocolOf = (value: unknown): string | null => {
  if (value === null || value === undefined || value === '') return null;
  const text = pythonStr(value).toLowerCase();
  if (text === 'any') return null;
  const number = /^\d{1,3}$/.test(text) ? Number(text) : -1;
  if (!Object.hasOwn(PROTOCOLS, text) && (number < 0 || number > 255))
    throw bad(
      'SecurityGroupRuleInvalidProtocol',
      `Security group rule protocol ${text.slice(0, 50)} not supported. Only protocol values [None, ${Object.keys(
        PROTOCOLS,
      )
        .map((p) => `'${p}'`)
        .join(', ')}] and integer representations [0 to 255] are supported.`,
    );
  return text;
};

/** A port number of a request. @throws DomainError `invalid` */
export const portOf = (value: unknown): number => {
  const number = typeof value === 'string' && /^\d{1,5}$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= 65_535) return number;
  throw bad('SecurityGroupInvalidPortValue', `Invalid value for port ${pythonStr(value).slice(0, 50)}`);
};

/** What Neutron checks of a rule beyond the form of its fields. @throws DomainError `invalid` */
export const checkRule = (rule: SecurityGroupRule): void => {
  const number = protocolNumber(rule.protocol);
  const { portMin, portMax, ethertype } = rule;
  if (rule.remotePrefix !== null && rule.remoteGroup !== null)
    throw bad(
      'SecurityGroupMultipleRemoteEntites',
      'Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.',
    );
  if (rule.remotePrefix !== null && rule.remotePrefix.includes(':') !== (ethertype === 'IPv6'))
    throw bad(
      'SecurityGroupRuleParameterConflict',
      `Conflicting value ethertype ${ethertype} for CIDR ${rule.remotePrefix}`,
    );
  if (number !== null && ONLY_V6.has(number) && ethertype === 'IPv4')
    throw bad(
      'SecurityGroupEthertypeConflictWithProtocol',
      `Invalid ethertype ${ethertype} for protocol ${rule.protocol}.`,
    );
  if (portMin === null && portMax === null) return;
  if (number === null)
    throw bad('SecurityGroupProtocolRequiredWithPorts', 'Must also specify protocol if port range is given.');
  if (number === 1 || number === 58) {
    for (const [attr, field, value] of [
      ['port_range_min', 'type', portMin],
      ['port_range_max', 'code', portMax],
    ] as const)
      if (value !== null && (value < 0 || value > 255))
        throw bad(
          'SecurityGroupInvalidIcmpValue',
          `Invalid value for ICMP ${field} (${attr}) ${value}. It must be 0 to 255.`,
        );
    if (portMin === null)
      throw bad(
        'SecurityGroupMissingIcmpType',
        `ICMP code (port-range-max) ${portMax} is provided but ICMP type (port-range-min) is missing.`,
      );
    return;
  }
  if (!WITH_PORTS.has(number))
    throw bad(
      'SecurityGroupInvalidProtocolForPort',
      `Invalid protocol ${rule.protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP.`,
    );
  if (portMin === null || portMax === null || portMin > portMax)
    throw bad('SecurityGroupInvalidPortRange', 'For TCP/UDP protocols, port_range_min must be <= port_range_max');
  for (const value of [portMin, portMax])
    if (value < 1) throw bad('SecurityGroupInvalidPortValue', `Invalid value for port ${value}`);
};
