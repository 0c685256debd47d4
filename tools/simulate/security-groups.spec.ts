import { networkNeeds, type ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { networkOffers } from '../../apps/compute-agent/src/network/network-offers.js';
import { type Belongings, settle } from '../api/people.js';
import { ApiCloud } from './api-cloud.js';

let api: ApiCloud;
let of: Belongings;
/** A network on a host that keeps guests to their addresses and filters nothing. */
let unfiltered: string;
/** Groups by name; only `open` lets anything in. */
let groups: Record<'one' | 'two' | 'three' | 'open', string>;

beforeAll(async () => {
  api = await ApiCloud.start();
  of = await settle(api, 'own');
  const switched = { physicalNetworks: ['physnet1'] };
  const { traits } = networkOffers(switched, []);
  await api.cloud.addHost('switched', { ...switched, traits: [...traits, networkNeeds.antiSpoofing.trait] });
  unfiltered = await create(api.admin, 'network', {
    ...{ shared: true, name: 'outer', 'provider:network_type': 'vlan' },
    ...{ 'provider:physical_network': 'physnet1', 'provider:segmentation_id': 7 },
  });
  await create(api.admin, 'subnet', { network_id: unfiltered, ip_version: 4, cidr: '10.20.0.0/24' });
  groups = { one: await group('one'), two: await group('two'), three: await group('three'), open: await group('open') };
  const rule = { security_group_id: groups.open, direction: 'ingress', ethertype: 'IPv4' };
  await create(of.token, 'security_group_rule', rule);
}, 60_000);
afterAll(() => api?.stop());

const network = (method: string, path: string, body?: object, token = of.token) =>
  api.call('network', method, `/v2.0${path}`, { token, ...(body ? { body } : {}) });
const create = async (token: string, what: string, given: object): Promise<string> => {
  const path = `/${what.replaceAll('_', '-')}s`;
  const { status, text, json } = await network('POST', path, { [what]: given }, token);
  expect([status, text]).toEqual([201, expect.any(String)]);
  return json[what].id;
};
const group = (name: string) => create(of.token, 'security_group', { name });
const portOf = (given: object = {}) => create(of.token, 'port', { network_id: of.network, ...given });
const boot = async (networks: readonly object[], more: object = {}): Promise<string> => {
  const server = { name: 's', imageRef: of.image, flavorRef: of.flavor, networks, ...more };
  const { server: made } = await api.does('compute', 'POST', '/v2.1/servers', { token: of.token, body: { server } });
  await api.cloud.until(made.id as ServerId, (s) => s.vmState === 'active', 5);
  return made.id;
};
const act = async (id: string, body: object) => {
  const { status, json } = await api.call('compute', 'POST', `/v2.1/servers/${id}/action`, { token: of.token, body });
  return [status, (Object.values(json ?? {}) as { message: string }[])[0]?.message];
};
const add = (id: string, name: string) => act(id, { addSecurityGroup: { name } });
const remove = (id: string, name: string) => act(id, { removeSecurityGroup: { name } });
const groupsOf = async (port: string): Promise<string[]> =>
  (await network('GET', `/ports/${port}`)).json.port.security_groups;
/** Names of a server's groups, as each place shows them. */
const shown = async (id: string) => {
  const get = async (path: string) => (await api.call('compute', 'GET', `/v2.1${path}`, { token: of.token })).json;
  const names = (groups: { name: string }[] = []) => groups.map(({ name }) => name).sort();
  const all: { id: string; security_groups: { name: string }[] }[] = (await get('/servers/detail')).servers;
  const places = [
    names((await get(`/servers/${id}`)).server.security_groups),
    names(all.find((s) => s.id === id)!.security_groups),
    names((await get(`/servers/${id}/os-security-groups`)).security_groups),
  ];
  expect(places).toEqual([places[0], places[0], places[0]]);
  return places[0];
};

describe('security groups of a server', () => {
  it('are those of its ports, each once, whoever changed them', async () => {
    const port = await portOf({ security_groups: [groups.one] });
    const id = await boot([{ port }]);
    expect(await shown(id)).toEqual(['one']);
    await network('PUT', `/ports/${port}`, { port: { security_groups: [groups.two] } });
    expect(await shown(id)).toEqual(['two']);
    expect(await shown(await boot([{ uuid: of.network }, { uuid: of.network }]))).toEqual(['default']);
    expect(await shown(await boot([{ port: await portOf({ security_groups: [] }) }]))).toEqual([]);
  });

  it('come to every port beside its own ones, and go from those that have them', async () => {
    const ports = [await portOf({ security_groups: [groups.one] }), await portOf({ security_groups: [] })];
    const id = await boot(ports.map((port) => ({ port })));
    for (let twice = 0; twice < 2; twice++) expect(await add(id, 'two')).toEqual([202, undefined]);
    expect(await Promise.all(ports.map(groupsOf))).toEqual([[groups.one, groups.two], [groups.two]]);
    expect(await shown(id)).toEqual(['one', 'two']);
    expect(await remove(id, groups.one)).toEqual([202, undefined]);
    expect(await Promise.all(ports.map(groupsOf))).toEqual([[groups.two], [groups.two]]);
    expect(await remove(id, 'one')).toEqual([404, `Security group one not associated with the instance ${id}`]);
  });

  it('are not lost when several requests change them at once', async () => {
    const port = await portOf({ security_groups: [groups.one] });
    const id = await boot([{ port }]);
    const asked = [add(id, 'two'), add(id, 'three'), add(id, 'open'), remove(id, 'one')];
    expect(await Promise.all(asked)).toEqual(asked.map(() => [202, undefined]));
    expect((await groupsOf(port)).sort()).toEqual([groups.two, groups.three, groups.open].sort());
  });

  it('are refused where a port cannot have any, and then come to none', async () => {
    const guarded = await portOf({ security_groups: [] });
    const open = await portOf({ port_security_enabled: false });
    const id = await boot([{ port: guarded }, { port: open }]);
    expect(await add(id, 'one')).toEqual([400, expect.stringContaining('requires port_security_enabled')]);
    expect(await Promise.all([guarded, open].map(groupsOf))).toEqual([[], []]);
    await network('PUT', `/ports/${guarded}`, { port: { security_groups: [groups.one] } });
    expect(await remove(id, 'one')).toEqual([202, undefined]);
    expect(await Promise.all([guarded, open].map(groupsOf))).toEqual([[], []]);
  });

  it('never come to a port that loses its port security meanwhile', async () => {
    const port = await portOf({ security_groups: [] });
    const id = await boot([{ port }]);
    const off = network('PUT', `/ports/${port}`, { port: { port_security_enabled: false } });
    const [added, changed] = await Promise.all([add(id, 'one'), off]);
    const { port_security_enabled, security_groups } = (await network('GET', `/ports/${port}`)).json.port;
    expect(port_security_enabled).toBe(security_groups.length > 0);
    expect([added[0], changed.status]).toEqual(port_security_enabled ? [202, 409] : [400, 200]);
  });

  it('are refused as Nova does where there is no such group, or no port', async () => {
    const { server } = await api.does('compute', 'POST', '/v2.1/servers', {
      ...{ token: of.token, version: '2.37' },
      body: { server: { name: 's', imageRef: of.image, flavorRef: of.flavor, networks: 'none' } },
    });
    const refused = (message: string) => [404, expect.stringContaining(message)];
    for (const change of [add, remove]) {
      expect(await change(server.id, 'nobody')).toEqual(refused('Security group nobody not found for project'));
      expect(await change(server.id, 'one')).toEqual(refused('could not be found as device id on any ports'));
    }
  });

  it('stay as they are, and are shown so, when the host of one port cannot guard it otherwise', async () => {
    const ports = [
      await portOf({ network_id: unfiltered, security_groups: [groups.open, groups.one] }),
      await portOf({ network_id: unfiltered, security_groups: [groups.open] }),
    ];
    for (const host of ['compute-1', 'compute-2']) await api.cloud.admin('host-disable', { host });
    const id = await boot(ports.map((port) => ({ port })));
    const before = await Promise.all(ports.map(groupsOf));
    const refused = [409, expect.stringContaining('security groups')];
    expect(await remove(id, 'open')).toEqual(refused);
    expect(await Promise.all(ports.map(groupsOf))).toEqual(before);
    expect(await shown(id)).toEqual(['one', 'open']);
    expect(await remove(id, 'one')).toEqual([202, undefined]);
    await network('PUT', `/ports/${ports[1]}`, { port: { security_groups: [] } });
    expect(await add(id, 'one')).toEqual(refused);
    expect(await shown(id)).toEqual(['open']);
  });
});
