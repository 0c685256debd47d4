import type { CommandContext, HostId, NetworkId, ProjectId, ServerId, SubnetId } from '@omnivisor/contracts';
import { MemoryEventStore, MemoryReadModel } from '@omnivisor/eventsourcing/memory';
import { MemoryBus, SeededIds, VirtualClock } from '@omnivisor/platform/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { GatewayCore } from '../core/gateway-core.js';
import { addressPool } from './address-pool/address-pool.js';
import { network } from './network/network.js';
import { networkProjections } from './network.projections.js';
import { defaultGroupId } from './security-group/default-group.js';
import { securityGroup } from './security-group/security-group.js';
import { securityGroupRuleTable } from './security-group/security-group.projection.js';
import { ServerPorts } from './server-ports.js';
import { subnet } from './subnet/subnet.js';
import { subnetTable } from './subnet/subnet.projection.js';

const projectId = '11111111111111111111111111111111' as ProjectId;
const serverId = '7f0e1f6e-0d3b-4a59-8f3c-2a3c4f4b9a01';
const hostId = '3c0f4a52-51a0-4f0b-9a6c-6d0c6a8f1b02' as HostId;
const host = { id: hostId, name: 'node1' };
let core: GatewayCore;
let ports: ServerPorts;
let clock: VirtualClock;
let count = 0;

const context = (name = `${count++}`): CommandContext => ({
  actor: { kind: 'service', service: 'spec' },
  requestId: 'req-00000000-0000-4000-8000-000000000000' as never,
  correlationId: 'req-00000000-0000-4000-8000-000000000000' as never,
  causationId: null,
  commandId: name as never,
});

const makeNetwork = async (cidr: string, shared = false): Promise<NetworkId> => {
  const networkId = core.ids.uuid() as NetworkId;
  const subnetId = core.ids.uuid() as SubnetId;
  const base = cidr.replace(/\d+\/\d+$/, '');
  const allocationPools = [{ start: `${base}2`, end: `${base}5` }];
  await core.commands.execute(
    network,
    networkId,
    {
      type: 'create',
      networkId,
      projectId,
      attributes: {
        name: cidr,
        description: '',
        adminUp: true,
        shared,
        external: false,
        isDefault: false,
        portSecurity: true,
        mtu: 1450,
        dnsDomain: '',
        availabilityZoneHints: [],
      },
    },
    context(),
  );
  const range = {
    subnetId,
    version: 4 as const,
    cidr,
    gateway: `${base}1`,
    allocationPools,
    serviceAddress: null,
    eui64: false,
  };
  await core.commands.execute(addressPool, networkId, { type: 'addRange', networkId, range }, context());
  await core.commands.execute(
    subnet,
    subnetId,
    {
      type: 'create',
      subnetId,
      networkId,
      projectId,
      version: 4,
      cidr,
      ipv6AddressMode: null,
      ipv6RaMode: null,
      attributes: {
        name: '',
        description: '',
        gateway: range.gateway,
        dhcp: true,
        allocationPools,
        dnsNameservers: [],
        hostRoutes: [],
        serviceTypes: [],
        serviceAddress: null,
      },
    },
    context(),
  );
  return networkId;
};

const request = (networkId: NetworkId | null, over: object = {}) => ({
  serverId,
  projectId,
  hostname: 'web',
  requested: [{ networkId, portId: null, fixedIp: null, tag: null }],
  securityGroups: [],
  host,
  ...over,
});

beforeEach(() => {
  clock = new VirtualClock();
  const ids = new SeededIds();
  core = new GatewayCore(
    {
      clock,
      ids,
      bus: new MemoryBus(clock),
      store: new MemoryEventStore(clock, ids),
      readModel: new MemoryReadModel(),
      random: () => 0,
    },
    networkProjections,
    (where, error) => {
      throw new Error(where, { cause: error });
    },
  );
  ports = new ServerPorts(core);
});

describe('networks of a new server', () => {
  it('are the only network of the project when it leaves the choice', async () => {
    const resolve = async () => ports.resolve(await core.fresh(), projectId, false, 'auto');
    expect(await resolve()).toEqual([]);
    const networkId = await makeNetwork('10.0.0.0/24');
    expect(await resolve()).toMatchObject([{ networkId }]);
  });

  it('are ambiguous when there are several', async () => {
    await makeNetwork('10.0.0.0/24');
    await makeNetwork('10.1.0.0/24', true);
    await expect(ports.resolve(await core.fresh(), projectId, false, 'auto')).rejects.toThrow(
      'Multiple possible networks found',
    );
  });

  it('of others are as if they did not exist', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    const wanted = [{ networkId, portId: null, fixedIp: null, tag: null }];
    await expect(ports.resolve(await core.fresh(), 'other', false, wanted)).rejects.toThrow(
      `Network ${networkId} could not be found.`,
    );
  });
});

describe('ports of a server', () => {
  it('are the same when allocated twice, and in the default group', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    const first = await ports.plug(request(networkId), context('a'));
    expect(first).toMatchObject([{ networkId, ours: true, fixedIps: [{ address: '10.0.0.2', version: 4 }] }]);
    expect(await ports.plug(request(networkId), context('b'))).toEqual(first);
    const plugs = (await ports.plugs(await core.fresh(), [{ id: serverId as ServerId, ports: first }])).get(serverId)!;
    expect(plugs[0]!.securityGroups).toEqual([defaultGroupId(projectId)]);
    expect(plugs[0]!.rules.filter((r) => r.direction === 'ingress' && r.ethertype === 'IPv4')).toMatchObject([
      { remotePrefixes: [], remoteGroup: defaultGroupId(projectId) },
    ]);
  });

  it('are bound to a host, found by address, and gone after release with their addresses', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    await ports.plug(request(networkId), context());
    const rows = await core.fresh();
    expect(await ports.serverAt(rows, networkId, '10.0.0.2')).toBe(serverId);
    expect(await ports.hostsOf(rows, [networkId])).toEqual([hostId]);
    expect((await ports.plans(rows, [networkId]))[0]).toMatchObject({
      subnets: [{ serviceAddress: '10.0.0.1' }],
    });
    await ports.release(serverId, context());
    await ports.release(serverId, context());
    const pool = await core.commands.load(addressPool, networkId);
    expect(pool.holdings.size).toBe(0);
    expect(await ports.serverAt(await core.fresh(), networkId, '10.0.0.2')).toBeNull();
  });

  it('move to another host with the next attempt', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    const made = await ports.plug(request(networkId), context());
    const other = { id: '3c0f4a52-51a0-4f0b-9a6c-6d0c6a8f1b03' as HostId, name: 'node2' };
    for (let twice = 0; twice < 2; twice++) await ports.move(made, { serverId, host: other }, context());
    const types = (await core.store.readStream(`port-${made[0]!.portId}`)).map((e) => e.type);
    expect(types).toEqual(['PortCreated', 'PortBound']);
    expect(await ports.hostsOf(await core.fresh(), [networkId])).toEqual([other.id]);
  });

  it('are refused when the network has no address left, and hold nothing then', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    const server = (n: number) => `7f0e1f6e-0d3b-4a59-8f3c-2a3c4f4b9a1${n}`;
    const all = await Promise.allSettled(
      [1, 2, 3, 4, 5, 6].map((n) => ports.plug(request(networkId, { serverId: server(n) }), context())),
    );
    expect(all.filter((r) => r.status === 'fulfilled')).toHaveLength(4);
    expect((await core.commands.load(addressPool, networkId)).holdings.size).toBe(4);
  });

  it('wake the hosts of servers that trust their group', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    await ports.plug(request(networkId), context());
    const group = defaultGroupId(projectId);
    const rule = {
      id: core.ids.uuid() as never,
      direction: 'ingress' as const,
      ethertype: 'IPv4' as const,
      protocol: 'tcp',
      portMin: 22,
      portMax: 22,
      remotePrefix: null,
      remoteGroup: null,
      description: '',
    };
    const { events } = await core.commands.execute(
      securityGroup,
      group,
      { type: 'addRule', securityGroupId: group, rule },
      context(),
    );
    expect(await ports.hostsTouchedBy(events[0]!, await core.fresh())).toEqual([hostId]);
  });

  it('are told of anew when their network, a subnet or a rule changes under them', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    const elsewhere = await makeNetwork('10.1.0.0/24');
    await ports.plug(request(networkId), context());
    const isAnew = async (change: () => Promise<unknown>) => {
      const known = await core.store.head();
      await change();
      return (await ports.news(await core.fresh(), hostId, known)).everything;
    };
    const rename = (id: NetworkId) => () =>
      core.commands.execute(network, id, { type: 'change', networkId: id, changes: { mtu: 1400 } }, context());
    const [row] = await (await core.fresh()).find(subnetTable, { where: { networkId } });
    const serve = () =>
      core.commands.execute(
        subnet,
        row!.id,
        { type: 'change', subnetId: row!.id, changes: { dnsNameservers: ['192.0.2.53'] } },
        context(),
      );
    const close = async () => {
      const securityGroupId = defaultGroupId(projectId);
      const [rule] = await core.readModel.find(securityGroupRuleTable, { where: { securityGroupId } });
      await core.commands.execute(
        securityGroup,
        securityGroupId,
        { type: 'removeRule', securityGroupId, ruleId: rule!.id },
        context(),
      );
    };
    expect(await isAnew(async () => {})).toBe(false);
    expect(await isAnew(rename(elsewhere))).toBe(false);
    for (const change of [rename(networkId), serve, close]) expect(await isAnew(change)).toBe(true);
    expect((await ports.news(await core.fresh(), hostId, 0)).everything).toBe(false);
  });

  it('join and leave their groups for the hosts that trust those, each change told once', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    const group = defaultGroupId(projectId);
    const other = '7f0e1f6e-0d3b-4a59-8f3c-2a3c4f4b9a02';
    const members = async (since: number) => (await ports.news(await core.fresh(), hostId, since)).members;
    await ports.plug(request(networkId), context());
    expect(await members(0)).toMatchObject([
      { securityGroupId: group, whole: true, members: [{ addresses: ['10.0.0.2'] }] },
    ]);
    const known = await core.store.head();
    const [joined] = await ports.plug(request(networkId, { serverId: other }), context());
    expect(await members(known)).toEqual([
      { securityGroupId: group, whole: false, members: [{ portId: joined!.portId, addresses: ['10.0.0.3'] }] },
    ]);
    expect(await ports.serversWithNews(await core.fresh(), hostId, known)).toEqual([other]);
    const later = await core.store.head();
    await ports.release(other, context());
    expect(await members(later)).toMatchObject([{ whole: false, members: [{ addresses: [] }] }]);
    expect((await members(0))[0]!.members).toHaveLength(1);
    expect(await members(await core.store.head())).toEqual([]);
    const left = (await core.store.readStream(`port-${joined!.portId}`)).at(-1)!;
    expect(ports.regroupedBy(left)).toEqual([group]);
    expect(await ports.hostsThatTrust(await core.fresh(), [group])).toEqual([hostId]);
  });

  it('tell a host all members of a group that is new to it', async () => {
    const networkId = await makeNetwork('10.0.0.0/24');
    await ports.plug(request(networkId), context());
    const known = await core.store.head();
    const host2 = { id: '3c0f4a52-51a0-4f0b-9a6c-6d0c6a8f1b03' as HostId, name: 'node2' };
    const second = request(networkId, { serverId: '7f0e1f6e-0d3b-4a59-8f3c-2a3c4f4b9a02', host: host2 });
    await ports.plug(second, context());
    const [group] = (await ports.news(await core.fresh(), host2.id, known)).members;
    expect(group).toMatchObject({ whole: true });
    expect(group!.members.map((m) => m.addresses)).toEqual([['10.0.0.2'], ['10.0.0.3']]);
  });
});
