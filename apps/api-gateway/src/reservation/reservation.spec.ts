import type { NetworkId, PortId, ProjectId, SecurityGroupId, ServerId, SubnetId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { quotaAggregate } from '../compute/quota/quota.js';
import { ownerOf, serverReservation } from '../compute/server/create/server.reservation.js';
import { history } from '../compute/server/lifecycle/server.fixtures.js';
import { serverAggregate } from '../compute/server/lifecycle/server-lifecycle.js';
import { serverGroupAggregate } from '../compute/server-group/server-group.js';
import { memoryCore, minutes, userContext } from '../core/gateway-core.fixtures.js';
import { addressPool } from '../network/address-pool/address-pool.js';
import { network } from '../network/network/network.js';
import { networkReservations } from '../network/network.reservations.js';
import { port } from '../network/port/port.js';
import { networkQuota, type QuotaResource, usedOf } from '../network/quota/network-quota.js';
import { securityGroup } from '../network/security-group/security-group.js';
import { subnet } from '../network/subnet/subnet.js';
import { gatewayProjections } from '../projections.js';
import { reservationTable } from './reservation.js';
import { ReservationProcess } from './reservation.process.js';

const projectId = 'p1' as ProjectId;
const networkId = '10000000-0000-4000-8000-000000000001' as NetworkId;
const subnetId = '10000000-0000-4000-8000-000000000002' as SubnetId;
const portId = '10000000-0000-4000-8000-000000000003' as PortId;
const groupId = '10000000-0000-4000-8000-000000000004' as SecurityGroupId;
const ruleId = '10000000-0000-4000-8000-000000000005';
const { serverId } = history;

const cloud = async () => {
  const { core, world } = memoryCore(gatewayProjections);
  core.run(new ReservationProcess(core, { server: serverReservation, ...networkReservations }));
  await core.start();
  const { commands } = core;
  const take = (resource: QuotaResource, id: string, parent?: string) =>
    commands.execute(
      networkQuota,
      projectId,
      { type: 'take', projectId, resource, ids: [id], ...(parent ? { parent } : {}) },
      userContext(),
    );
  const used = async (resource: QuotaResource) => usedOf(await commands.load(networkQuota, projectId), resource);
  const until = (done: () => Promise<boolean>) => world.clock.runUntil(done, minutes(5));
  const held = async () => (await core.fresh()).count(reservationTable);
  const range = {
    subnetId,
    version: 4 as const,
    cidr: '10.0.0.0/24',
    gateway: null,
    allocationPools: [{ start: '10.0.0.2', end: '10.0.0.9' }],
    serviceAddress: null,
    eui64: false,
  };
  const addRange = () =>
    commands.execute(addressPool, networkId, { type: 'addRange', networkId, range }, userContext());
  return { core, commands, world, take, used, until, held, addRange };
};

type Cloud = Awaited<ReturnType<typeof cloud>>;

const makeNetwork = ({ commands }: Cloud) =>
  commands.execute(
    network,
    networkId,
    { type: 'create', networkId, projectId, attributes: {} as never },
    userContext(),
  );
const makeSubnet = ({ commands }: Cloud) =>
  commands.execute(subnet, subnetId, { type: 'create', subnetId, attributes: {} } as never, userContext());
const makePort = ({ commands }: Cloud) =>
  commands.execute(
    port,
    portId,
    {
      type: 'create',
      portId,
      networkId,
      projectId,
      attributes: { fixedIps: [], securityGroups: [], mac: 'fa:16:3e:00:00:01' } as never,
      madeFor: null,
      hostname: '',
    },
    userContext(),
  );
const makeGroup = ({ commands }: Cloud) =>
  commands.execute(
    securityGroup,
    groupId,
    { type: 'create', securityGroupId: groupId, projectId, name: 'g', rules: [] } as never,
    userContext(),
  );
const addRule = ({ commands }: Cloud) =>
  commands.execute(
    securityGroup,
    groupId,
    {
      type: 'addRule',
      securityGroupId: groupId,
      rule: { id: ruleId, direction: 'ingress', ethertype: 'IPv4' },
    } as never,
    userContext(),
  );

describe('what was taken for something that never came', () => {
  it.each([
    ['network', networkId, makeNetwork],
    ['security_group', groupId, makeGroup],
  ] as const)('is given back for a %s, which cannot come late', async (resource, id, make) => {
    const c = await cloud();
    await c.take(resource, id);
    await c.until(async () => (await c.used(resource)) === 0);
    await expect(make(c)).rejects.toMatchObject({ kind: 'conflict' });
    expect(await c.held()).toBe(0);
  });

  it('is given back for a subnet, with its range', async () => {
    const c = await cloud();
    await c.take('subnet', subnetId);
    await c.addRange();
    await c.until(async () => (await c.held()) === 0);
    expect(await c.used('subnet')).toBe(0);
    expect((await c.commands.load(addressPool, networkId)).ranges.size).toBe(0);
    await expect(makeSubnet(c)).rejects.toMatchObject({ kind: 'conflict' });
  });

  it('is given back for a port, with its addresses', async () => {
    const c = await cloud();
    await c.addRange();
    await c.take('port', portId);
    await c.commands.execute(
      addressPool,
      networkId,
      { type: 'allocate', networkId, portId, projectId, mac: 'fa:16:3e:00:00:01', fixedIps: 'any' },
      userContext(),
    );
    await c.until(async () => (await c.used('port')) === 0);
    await c.until(async () => (await c.commands.load(addressPool, networkId)).holdings.size === 0);
    await expect(makePort(c)).rejects.toMatchObject({ kind: 'conflict' });
  });

  it('is given back for a rule of a group that is there', async () => {
    const c = await cloud();
    await makeGroup(c);
    await c.take('security_group_rule', ruleId, groupId);
    await c.until(async () => (await c.used('security_group_rule')) === 0);
    await expect(addRule(c)).rejects.toMatchObject({ kind: 'conflict' });
  });

  it('is given back for a server, which leaves the group that it joined', async () => {
    const c = await cloud();
    const server = { projectId, groupId, serverId: serverId as ServerId };
    const group = { groupId, projectId, userId: 'u', name: 'g', policy: 'affinity', maxServerPerHost: null };
    await c.commands.execute(
      serverGroupAggregate,
      projectId,
      { type: 'create', group, limit: -1 } as never,
      userContext(),
    );
    await c.commands.execute(serverGroupAggregate, projectId, { type: 'join', ...server, limit: -1 }, userContext());
    const owner = ownerOf(serverId);
    const reservations = [{ owner, amounts: { instances: 1 } }];
    await c.commands.execute(
      quotaAggregate,
      projectId,
      { type: 'reserve', projectId, reservations, atLeast: 1, defaults: {} },
      userContext(),
    );
    await c.until(async () => (await c.commands.load(quotaAggregate, projectId)).used.instances === 0);
    await c.until(async () =>
      (await c.core.store.readStream(`servergroup-${projectId}`)).some((e) => e.type === 'ServerGroupMemberRemoved'),
    );
    const create = c.commands.execute(
      serverAggregate,
      serverId,
      { type: 'create', request: history.request },
      userContext(),
    );
    await expect(create).rejects.toMatchObject({ kind: 'conflict' });
  });
});

describe('what something holds', () => {
  it('stays while its owner is there', async () => {
    const c = await cloud();
    await c.take('network', networkId);
    await makeNetwork(c);
    await c.world.clock.advance(minutes(10));
    expect(await c.used('network')).toBe(1);
  });

  it('is given back when its owner went and who removed it died before that', async () => {
    const c = await cloud();
    await c.take('network', networkId);
    await makeNetwork(c);
    await c.commands.execute(network, networkId, { type: 'delete', networkId }, userContext());
    await c.until(async () => (await c.used('network')) === 0);
    expect(await c.held()).toBe(0);
  });
});
