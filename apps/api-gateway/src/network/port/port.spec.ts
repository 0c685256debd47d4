import type { NetworkId, PortAttributes, PortId, ProjectId, SecurityGroupId, ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { type Port, type PortCommand, port } from './port.js';

const portId = 'p' as PortId;
const serverId = 's' as ServerId;
const [one, two] = ['one', 'two'] as [SecurityGroupId, SecurityGroupId];
const fixedIps = [{ subnetId: 'n', address: '10.0.0.2' }] as unknown as PortAttributes['fixedIps'];

const portWith = (attributes: Partial<PortAttributes>): Port => ({
  ...port.initial,
  ...{ id: portId, networkId: 'n' as NetworkId, projectId: 'd' as ProjectId, serverId },
  attributes: { securityGroups: [], portSecurity: true, allowedAddressPairs: [], fixedIps, ...attributes } as never,
});
const groupsAfter = (command: PortCommand, before: Port) =>
  port.decide(command, before).reduce(port.evolve, before).attributes.securityGroups;
const regroup = (change: 'add' | 'remove', securityGroupId: SecurityGroupId): PortCommand => ({
  ...{ type: 'regroup', portId, serverId, change, securityGroupId },
});

describe('changing a port', () => {
  it('cannot take the port security from what needs it, whatever was seen of the port before', () => {
    const change: PortCommand = { type: 'change', portId, changes: { portSecurity: false } };
    expect(() => port.decide(change, portWith({ securityGroups: [one] }))).toThrow('has security group associated');
    expect(port.decide(change, portWith({}))).toMatchObject([{ type: 'PortChanged' }]);
  });
});

describe('another group of a port', () => {
  it('comes beside those that it has, and goes alone', () => {
    expect(groupsAfter(regroup('add', two), portWith({ securityGroups: [one] }))).toEqual([one, two]);
    expect(groupsAfter(regroup('remove', two), portWith({ securityGroups: [one, two] }))).toEqual([one]);
    expect(port.decide(regroup('add', one), portWith({ securityGroups: [one] }))).toEqual([]);
    expect(port.decide(regroup('remove', two), portWith({ securityGroups: [one] }))).toEqual([]);
  });

  it.each([{ portSecurity: false }, { fixedIps: [] }])('is refused with %j', (attributes) => {
    const before = portWith(attributes);
    expect(() => port.decide(regroup('add', one), before)).toThrow('requires port_security_enabled');
    expect(port.decide(regroup('remove', one), before)).toEqual([]);
  });

  it('is nothing to a port that the server no longer has', () => {
    const detached = { ...portWith({}), serverId: null };
    for (const gone of [detached, { ...portWith({}), deleted: true }, port.initial])
      expect(port.decide(regroup('add', one), gone)).toEqual([]);
  });
});
