import { networkNeeds, type ServerId, seconds } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { networkOffers } from '../../apps/compute-agent/src/network/network-offers.js';
import { type Belongings, settle } from '../api/people.js';
import { ApiCloud } from './api-cloud.js';

/** Names of `provider:` attributes. */
const provider = (given: object) =>
  Object.fromEntries(Object.entries(given).map(([name, value]) => [`provider:${name}`, value]));
const vlan = (segmentation_id: number | null = 7) =>
  provider({ network_type: 'vlan', physical_network: 'physnet1', segmentation_id });

describe('networks on physical networks', () => {
  let api: ApiCloud;
  let of: Belongings;
  beforeAll(async () => {
    api = await ApiCloud.start();
    of = await settle(api, 'own');
    const switched = { physicalNetworks: ['physnet1', 'physnet2'] };
    const { traits } = networkOffers(switched, []);
    // A hypervisor with switches of its own that keeps guests to their addresses and filters nothing.
    await api.cloud.addHost('switched', {
      ...switched,
      traits: [...traits, networkNeeds.antiSpoofing.trait],
    });
    api.cloud.errors.length = 0;
  }, 60_000);
  afterAll(() => api?.stop());

  const ask = (token: string, method: string, path: string, body?: object) =>
    api.call('network', method, `/v2.0${path}`, { token, ...(body ? { body } : {}) });
  const make = async (given: object) => {
    const { status, json, text } = await ask(api.admin, 'POST', '/networks', {
      network: { shared: true, name: 'outer', ...given },
    });
    expect(text && status).toBe(201);
    return json.network;
  };
  const withSubnet = async (given: object, cidr = '10.20.0.0/24') => {
    const made = await make(given);
    const subnet = { network_id: made.id, ip_version: 4, cidr };
    expect((await ask(api.admin, 'POST', '/subnets', { subnet })).status).toBe(201);
    return made.id as string;
  };
  const boot = async (network: string, given: object = {}) => {
    const server = { name: 's', imageRef: of.image, flavorRef: of.flavor, networks: [{ uuid: network }], ...given };
    const { server: made } = await api.does('compute', 'POST', '/v2.1/servers', { token: of.token, body: { server } });
    return api.cloud.until(made.id as ServerId, (s) => s.vmState === 'active' || s.vmState === 'error', 5);
  };
  const group = async (rules: readonly object[]) => {
    const { json } = await ask(of.token, 'POST', '/security-groups', { security_group: { name: 'open' } });
    const id = json.security_group.id as string;
    for (const rule of rules)
      await ask(of.token, 'POST', '/security-group-rules', {
        security_group_rule: { security_group_id: id, direction: 'ingress', ethertype: 'IPv4', ...rule },
      });
    return id;
  };

  it('are made, shown and given back by administrators only', async () => {
    const made = await make(vlan(30));
    expect(made).toMatchObject({ ...vlan(30), mtu: 1500 });
    const as = (token: string) => ask(token, 'GET', `/networks/${made.id}`);
    expect((await as(api.admin)).json.network).toMatchObject(vlan(30));
    expect((await as(of.token)).json.network).not.toHaveProperty('provider:network_type');
    expect((await ask(of.token, 'POST', '/networks', { network: vlan(31) })).status).toBe(403);
    await ask(api.admin, 'DELETE', `/networks/${made.id}`);
    expect((await make(vlan(30))).id).not.toBe(made.id);
  });

  it.each([
    [vlan(30), 409, 'VlanIdInUse'],
    [vlan(4095), 400, 'segmentation_id out of range (1 through 4094)'],
    [vlan(0), 400, 'segmentation_id out of range (1 through 4094)'],
    [vlan(null), 400, 'Physical network physnet1 requires segmentation_id to be specified'],
    [provider({ segmentation_id: 3 }), 400, 'network_type required'],
    [provider({ network_type: 'vxlan', segmentation_id: 3 }), 400, "network_type value 'vxlan' not supported"],
    [provider({ network_type: 'vlan', segmentation_id: 3 }), 400, 'segmentation_id requires physical_network for VLAN'],
    [provider({ network_type: 'flat' }), 400, 'physical_network required for flat provider network'],
    [
      provider({ network_type: 'flat', physical_network: 'p9' }),
      400,
      "physical_network 'p9' unknown for flat provider",
    ],
    [provider({ network_type: 'local', segmentation_id: 3 }), 400, 'segmentation_id prohibited for local'],
    [{ ...vlan(3), ...provider({ network_type: 'flat' }) }, 400, 'segmentation_id prohibited for flat'],
  ])('are refused as Neutron does: %j', async (given, status, text) => {
    const before = (await ask(api.admin, 'GET', '/networks')).json.networks.length;
    const reply = await ask(api.admin, 'POST', '/networks', { network: given });
    expect([reply.status, reply.text]).toEqual([status, expect.stringContaining(text)]);
    expect((await ask(api.admin, 'GET', '/networks')).json.networks).toHaveLength(before);
  });

  it('have one untagged network each', async () => {
    const flat = provider({ network_type: 'flat', physical_network: 'physnet2' });
    await make(flat);
    const second = await ask(api.admin, 'POST', '/networks', { network: flat });
    expect([second.status, second.json.NeutronError.type]).toEqual([409, 'FlatNetworkInUse']);
  });

  it('span machines, come to the driver as they are, and bring a config drive that says all', async () => {
    const network = await withSubnet(vlan(40));
    const server = await boot(network);
    expect(server).toMatchObject({ vmState: 'active', configDrive: true });
    const [guest] = api.cloud.guests(server.id);
    expect(guest!.nics[0]!.attachment).toEqual({
      kind: 'provider',
      networkType: 'vlan',
      physicalNetwork: 'physnet1',
      segmentationId: 40,
    });
    expect(guest!.configDrive).toContain('openstack/latest/network_data.json');
    // A local network has metadata, so that nothing is forced.
    expect((await boot(of.network)).configDrive).toBe(false);
  });

  it('are refused with the reason where a host cannot reach or guard a port, and served where nothing is to be guarded', async () => {
    const network = await withSubnet(vlan(41));
    await api.cloud.admin('host-disable', { host: 'compute-1' });
    await api.cloud.admin('host-disable', { host: 'compute-2' });
    try {
      const refused = await boot(network);
      expect(refused.fault?.message).toContain(
        'fails security groups (wanted rules that keep something out, best not offered)',
      );
      expect((await boot(of.network)).fault?.message).toContain('local networks');
      const open = await group([{}]);
      const served = await boot(network, { security_groups: [{ name: open }] });
      expect(served).toMatchObject({ vmState: 'active', placement: { hostName: 'switched' } });
      const act = (body: object) =>
        api.call('compute', 'POST', `/v2.1/servers/${served.id}/action`, { token: of.token, body });
      const narrow = await group([{ protocol: 'tcp', port_range_min: 22, port_range_max: 22 }]);
      expect(await act({ addSecurityGroup: { name: narrow } })).toMatchObject({ status: 202 });
      const left = await act({ removeSecurityGroup: { name: open } });
      expect([left.status, left.text]).toEqual([409, expect.stringContaining('security groups')]);
    } finally {
      await api.cloud.admin('host-enable', { host: 'compute-1' });
      await api.cloud.admin('host-enable', { host: 'compute-2' });
    }
  });

  it('let through who joins a group that the rules of a running guest name', async () => {
    const network = await withSubnet(vlan(42), '10.42.0.0/24');
    const guarded = await boot(network);
    const guard = () => JSON.stringify(api.cloud.guests(guarded.id)[0]!.nics[0]!.guard);
    const peer = await boot(network);
    const address = Object.values(peer.ports![0]!.fixedIps)[0]!.address;
    await api.cloud.clock.runUntil(() => guard().includes(`${address}/32`), seconds(30));
    await api.call('compute', 'DELETE', `/v2.1/servers/${peer.id}`, { token: of.token });
    await api.cloud.clock.runUntil(() => !guard().includes(`${address}/32`), seconds(30));
  });
});
