import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type NetworkApp, networkApp, type Person, project } from './network-app.fixtures.js';
import { ServerPorts } from './server-ports.js';

let cloud: NetworkApp;
beforeAll(async () => {
  cloud = await networkApp();
});
afterAll(async () => {
  await cloud.close();
  expect(cloud.errors).toEqual([]);
});

const call: NetworkApp['call'] = (...args) => cloud.call(...args);
const problem = async (
  reply: Promise<{ status: number; body: { NeutronError: { type: string; message: string } } }>,
) => {
  const { status, body } = await reply;
  return [status, body.NeutronError.type, body.NeutronError.message] as const;
};

const network = async (who: Person, over: object = {}) =>
  (await call(who, 'POST', '/networks', { network: { name: 'n', ...over } })).body.network;
const withSubnet = async (who: Person, cidr = '10.0.0.0/24', over: object = {}) => {
  const made = await network(who, over);
  const reply = await call(who, 'POST', '/subnets', { subnet: { network_id: made.id, ip_version: 4, cidr } });
  expect(reply.status).toBe(201);
  return { network: made, subnet: reply.body.subnet };
};

describe('networks', () => {
  it('are found by URLs that name the format', async () => {
    const { id } = await network('demo', { name: 'plain.json' });
    expect((await call('demo', 'GET', `/networks/${id}.json`)).body.network.id).toBe(id);
    const found = await call('demo', 'GET', '/networks.json?name=plain.json');
    expect(found.body.networks.map((n: { id: string }) => n.id)).toEqual([id]);
  });
  it('are made, shown, changed and deleted by their project', async () => {
    const made = await call('demo', 'POST', '/networks', { network: { name: 'mine' } });
    expect(made).toMatchObject({
      status: 201,
      body: {
        network: { name: 'mine', project_id: project('demo'), status: 'ACTIVE', shared: false, revision_number: 1 },
      },
    });
    const { id } = made.body.network;
    expect(made.body.network).not.toHaveProperty('provider:network_type');
    expect((await call('demo', 'PUT', `/networks/${id}`, { network: { name: 'new' } })).body.network).toMatchObject({
      name: 'new',
      revision_number: 2,
    });
    expect((await call('admin', 'GET', `/networks/${id}`)).body.network['provider:network_type']).toBe('local');
    expect((await call('demo', 'DELETE', `/networks/${id}`)).status).toBe(204);
    expect(await problem(call('demo', 'GET', `/networks/${id}`))).toEqual([
      404,
      'NetworkNotFound',
      `Network ${id} could not be found.`,
    ]);
  });

  it('of others do not exist, unless they are shared or external', async () => {
    const secret = await network('demo');
    expect((await call('other', 'GET', `/networks/${secret.id}`)).status).toBe(404);
    expect((await call('other', 'DELETE', `/networks/${secret.id}`)).status).toBe(404);
    expect((await call('other', 'PUT', `/networks/${secret.id}`, { network: { name: 'x' } })).status).toBe(404);
    const shared = await network('admin', { shared: true, name: 'everybodys' });
    const external = await network('admin', { 'router:external': true, name: 'outside' });
    const seen = (await call('other', 'GET', '/networks?fields=id&fields=name')).body.networks;
    expect(seen).toEqual(
      expect.arrayContaining([
        { id: shared.id, name: 'everybodys' },
        { id: external.id, name: 'outside' },
      ]),
    );
    expect(seen.map((n: { id: string }) => n.id)).not.toContain(secret.id);
    expect((await call('other', 'DELETE', `/networks/${shared.id}`)).status).toBe(403);
    await call('admin', 'POST', '/subnets', {
      subnet: { network_id: external.id, ip_version: 4, cidr: '192.0.2.0/24' },
    });
    expect((await call('other', 'GET', `/subnets?network_id=${external.id}`)).body.subnets).toEqual([]);
    await call('admin', 'DELETE', `/networks/${shared.id}`);
  });

  it('can be shared by administrators only', async () => {
    expect((await call('demo', 'POST', '/networks', { network: { shared: true } })).status).toBe(403);
  });

  it('refuse what Neutron refuses, in its words', async () => {
    const post = (body: unknown) => problem(call('demo', 'POST', '/networks', body));
    expect(await post({ network: { nam: 'x' } })).toEqual([400, 'HTTPBadRequest', "Unrecognized attribute(s) 'nam'"]);
    expect(await post({ network: { status: 'x' } })).toEqual([
      400,
      'HTTPBadRequest',
      "Attribute 'status' not allowed in POST",
    ]);
    expect(await post({ network: { admin_state_up: 'perhaps' } })).toEqual([
      400,
      'HTTPBadRequest',
      "Invalid input for admin_state_up. Reason: 'perhaps' cannot be converted to boolean.",
    ]);
    for (const body of [{}, [], 1, null, { network: null }, { network: [] }, { networks: [] }, { networks: [1] }])
      expect((await call('demo', 'POST', '/networks', body)).status).toBe(400);
  });

  it('are made several at once', async () => {
    const { status, body } = await call('other', 'POST', '/networks', { networks: [{ name: 'a' }, { name: 'b' }] });
    expect([status, body.networks.map((n: { name: string }) => n.name)]).toEqual([201, ['a', 'b']]);
  });

  it('know the revision that a change is meant for', async () => {
    const { id } = await network('demo');
    const put = (revision: number) =>
      call(
        'demo',
        'PUT',
        `/networks/${id}`,
        { network: { name: `r${revision}` } },
        { 'if-match': `revision_number=${revision}` },
      );
    expect((await put(1)).status).toBe(200);
    expect(await problem(put(1))).toEqual([
      412,
      'RevisionNumberConstraintFailed',
      'Constrained to 1, but current revision is 2',
    ]);
  });

  it('are listed in pages, both ways, sorted and filtered', async () => {
    for (const name of ['p3', 'p1', 'p2', 'p4']) await network('other', { name, description: 'paged' });
    const page = async (query: string) =>
      (await call('other', 'GET', `/networks?description=paged&sort_key=name&sort_dir=asc${query}`)).body;
    const names = (b: { networks: { name: string }[] }) => b.networks.map((n) => n.name);
    const first = await page('&limit=2');
    expect(names(first)).toEqual(['p1', 'p2']);
    const next = first.networks_links.find((l: { rel: string }) => l.rel === 'next').href as string;
    const second = await call('other', 'GET', next.replace(/^.*\/v2\.0/, ''));
    expect(names(second.body)).toEqual(['p3', 'p4']);
    const marker = second.body.networks[0].id;
    expect(names(await page(`&limit=2&page_reverse=True&marker=${marker}`))).toEqual(['p1', 'p2']);
    expect(names(await page('&name=p2&name=p4'))).toEqual(['p2', 'p4']);
    expect((await call('other', 'GET', '/networks?sort_key=nonsense')).status).toBe(400);
    expect((await call('other', 'GET', '/networks?limit=x')).status).toBe(400);
    expect(names(await page('&admin_state_up=1&shared=FALSE'))).toEqual(['p1', 'p2', 'p3', 'p4']);
    expect(await problem(call('other', 'GET', '/networks?admin_state_up=up'))).toEqual([
      400,
      'InvalidInput',
      "Invalid input for operation: 'up' cannot be converted to boolean.",
    ]);
  });

  it('carry tags', async () => {
    const { id } = await network('demo');
    expect((await call('demo', 'PUT', `/networks/${id}/tags`, { tags: ['red', 'blue'] })).body.tags).toEqual([
      'red',
      'blue',
    ]);
    expect((await call('demo', 'PUT', `/networks/${id}/tags/green`)).status).toBe(201);
    expect((await call('demo', 'DELETE', `/networks/${id}/tags/red`)).status).toBe(204);
    expect((await call('demo', 'GET', `/networks/${id}/tags/red`)).status).toBe(404);
    expect((await call('demo', 'GET', '/networks?tags=blue,green')).body.networks).toHaveLength(1);
    expect((await call('demo', 'GET', '/networks?tags=blue,red')).body.networks).toHaveLength(0);
    expect((await call('other', 'GET', `/networks/${id}/tags`)).status).toBe(404);
  });
});

describe('subnets', () => {
  it('get a gateway and pools of their own accord', async () => {
    const { subnet, network: home } = await withSubnet('demo');
    expect(subnet).toMatchObject({
      gateway_ip: '10.0.0.1',
      allocation_pools: [{ start: '10.0.0.2', end: '10.0.0.254' }],
      enable_dhcp: true,
      network_id: home.id,
    });
    expect((await call('demo', 'GET', `/networks/${home.id}`)).body.network.subnets).toEqual([subnet.id]);
  });

  it('refuse what does not fit', async () => {
    const { network: home } = await withSubnet('demo');
    const post = async (over: object) =>
      (
        await problem(call('demo', 'POST', '/subnets', { subnet: { network_id: home.id, ip_version: 4, ...over } }))
      ).slice(0, 2);
    expect(await post({ cidr: '10.0.0.128/25' })).toEqual([400, 'InvalidInput']);
    expect(await post({ cidr: '10.1.0.5/24' })).toEqual([400, 'HTTPBadRequest']);
    expect(await post({ cidr: '10.1.0.0/33' })).toEqual([400, 'HTTPBadRequest']);
    expect(await post({})).toEqual([400, 'HTTPBadRequest']);
    expect(await post({ cidr: '10.1.0.0/24', gateway_ip: '10.2.0.1' })).toEqual([400, 'InvalidInput']);
    const pool = (start: string, end: string) => ({ cidr: '10.1.0.0/24', allocation_pools: [{ start, end }] });
    expect(await post(pool('10.1.0.9', '10.1.0.2'))).toEqual([400, 'InvalidAllocationPool']);
    expect(await post(pool('10.1.0.9', '10.1.1.2'))).toEqual([400, 'OutOfBoundsAllocationPool']);
    expect(await post(pool('10.1.0.1', '10.1.0.9'))).toEqual([409, 'GatewayConflictWithAllocationPools']);
    expect(await post({ cidr: 'fd00::/64' })).toEqual([400, 'InvalidInput']);
    const six = (over: object) => post({ cidr: 'fd00::/64', ip_version: 6, ...over });
    const [slaac, stateful] = ['slaac', 'dhcpv6-stateful'];
    expect(await six({ ipv6_ra_mode: slaac, ipv6_address_mode: stateful })).toEqual([400, 'InvalidInput']);
    expect(await six({ ipv6_ra_mode: slaac, enable_dhcp: false })).toEqual([400, 'InvalidInput']);
    expect(await six({ ipv6_ra_mode: slaac, cidr: 'fd00::/80' })).toEqual([400, 'InvalidInput']);
    expect(await six({ cidr: 'fd00::/56' })).toEqual([400, 'InvalidInput']);
    const wide = { network_id: home.id, cidr: 'fd00::/56', ip_version: 6, enable_dhcp: false };
    const { subnet } = (await call('demo', 'POST', '/subnets', { subnet: wide })).body;
    const served = call('demo', 'PUT', `/subnets/${subnet.id}`, { subnet: { enable_dhcp: true } });
    expect((await problem(served)).slice(0, 2)).toEqual([400, 'InvalidInput']);
  });

  it('are not deleted while a port has an address of them, nor their network', async () => {
    const { subnet, network: home } = await withSubnet('demo');
    const port = (await call('demo', 'POST', '/ports', { port: { network_id: home.id } })).body.port;
    expect((await problem(call('demo', 'DELETE', `/subnets/${subnet.id}`))).slice(0, 2)).toEqual([409, 'SubnetInUse']);
    expect((await problem(call('demo', 'DELETE', `/networks/${home.id}`))).slice(0, 2)).toEqual([409, 'NetworkInUse']);
    expect((await call('demo', 'DELETE', `/ports/${port.id}`)).status).toBe(204);
    expect((await call('demo', 'DELETE', `/networks/${home.id}`)).status).toBe(204);
    expect((await call('demo', 'GET', `/subnets/${subnet.id}`)).status).toBe(404);
  });

  it('of IPv6 give addresses made from the MAC where they should', async () => {
    const home = await network('demo');
    const subnet = {
      network_id: home.id,
      ip_version: 6,
      cidr: 'fd00:1::/64',
      ipv6_address_mode: 'slaac',
      ipv6_ra_mode: 'slaac',
    };
    expect((await call('demo', 'POST', '/subnets', { subnet })).status).toBe(201);
    const { port } = (await call('demo', 'POST', '/ports', { port: { network_id: home.id, security_groups: [] } }))
      .body;
    expect(port.fixed_ips[0].ip_address).toMatch(/^fd00:1::f816:3eff:fe/);
  });

  it('change their gateway, name servers and routes', async () => {
    const { subnet } = await withSubnet('demo');
    const change = {
      gateway_ip: null,
      dns_nameservers: ['192.0.2.1'],
      host_routes: [{ destination: '10.9.0.0/16', nexthop: '10.0.0.9' }],
    };
    expect((await call('demo', 'PUT', `/subnets/${subnet.id}`, { subnet: change })).body.subnet).toMatchObject(change);
    expect((await call('demo', 'PUT', `/subnets/${subnet.id}`, { subnet: { cidr: '10.3.0.0/24' } })).status).toBe(400);
  });
});

describe('ports', () => {
  it('get an address, a MAC and the default group', async () => {
    const { network: home, subnet } = await withSubnet('demo');
    const { status, body } = await call('demo', 'POST', '/ports', { port: { network_id: home.id, name: 'p' } });
    expect([status, body.port]).toMatchObject([
      201,
      {
        fixed_ips: [{ subnet_id: subnet.id, ip_address: '10.0.0.2' }],
        status: 'DOWN',
        security_groups: [expect.any(String)],
      },
    ]);
    expect(body.port.mac_address).toMatch(/^fa:16:3e:/);
    expect(body.port).not.toHaveProperty('binding:host_id');
    expect((await call('admin', 'GET', `/ports/${body.port.id}`)).body.port['binding:vif_type']).toBe('unbound');
    const found = await call('demo', 'GET', `/ports?fixed_ips=ip_address=10.0.0.2&fixed_ips=subnet_id=${subnet.id}`);
    expect(found.body.ports.map((p: { id: string }) => p.id)).toEqual([body.port.id]);
  });

  it('do not share addresses or MACs', async () => {
    const { network: home } = await withSubnet('demo');
    const wanted = { network_id: home.id, mac_address: 'fa:16:3e:11:22:33', fixed_ips: [{ ip_address: '10.0.0.7' }] };
    const post = (port: object) => call('demo', 'POST', '/ports', { port });
    expect((await post(wanted)).status).toBe(201);
    expect((await problem(post({ ...wanted, fixed_ips: [{ ip_address: '10.0.0.8' }] }))).slice(0, 2)).toEqual([
      409,
      'MacAddressInUse',
    ]);
    expect((await problem(post({ ...wanted, mac_address: 'fa:16:3e:11:22:34' }))).slice(0, 2)).toEqual([
      409,
      'IpAddressInUse',
    ]);
    expect((await problem(post({ network_id: home.id, fixed_ips: [{ ip_address: '10.5.0.8' }] }))).slice(0, 2)).toEqual(
      [400, 'InvalidIpForNetwork'],
    );
  });

  it('change their addresses, pairs and security', async () => {
    const { network: home } = await withSubnet('demo');
    const { port } = (await call('demo', 'POST', '/ports', { port: { network_id: home.id } })).body;
    const put = (change: object) => call('demo', 'PUT', `/ports/${port.id}`, { port: change });
    expect((await put({ fixed_ips: [{ ip_address: '10.0.0.50' }] })).body.port.fixed_ips[0].ip_address).toBe(
      '10.0.0.50',
    );
    expect(
      (await put({ allowed_address_pairs: [{ ip_address: '10.0.0.60' }] })).body.port.allowed_address_pairs,
    ).toEqual([{ ip_address: '10.0.0.60', mac_address: port.mac_address }]);
    expect((await problem(put({ port_security_enabled: false }))).slice(0, 2)).toEqual([
      409,
      'PortSecurityPortHasSecurityGroup',
    ]);
    expect((await put({ port_security_enabled: false, security_groups: [], allowed_address_pairs: [] })).status).toBe(
      200,
    );
    expect((await put({ 'binding:host_id': 'x' })).status).toBe(403);
    expect((await put({ network_id: home.id })).status).toBe(400);
    const free = (await call('demo', 'POST', '/ports', { port: { network_id: home.id } })).body.port;
    expect(free.fixed_ips[0].ip_address).toBe('10.0.0.2');
  });

  it('have no stateless security group: hosts could not enforce it', async () => {
    const home = await network('demo');
    const group = async (stateful: boolean) =>
      (await call('demo', 'POST', '/security-groups', { security_group: { name: 'g', stateful } })).body.security_group;
    const [open, kept] = [await group(false), await group(true)];
    const make = (id: string) =>
      call('demo', 'POST', '/ports', { port: { network_id: home.id, security_groups: [id] } });
    const refused = await make(open.id);
    expect([refused.status, refused.body.NeutronError.type]).toEqual([409, 'SecurityGroupConflict']);
    const { port } = (await make(kept.id)).body;
    const put = await call('demo', 'PUT', `/ports/${port.id}`, { port: { security_groups: [open.id] } });
    expect(put.status).toBe(409);
    const change = (id: string, security_group: object) =>
      call('demo', 'PUT', `/security-groups/${id}`, { security_group });
    expect((await change(kept.id, { stateful: false })).body.NeutronError.type).toBe('SecurityGroupInUse');
    await call('demo', 'DELETE', `/ports/${port.id}`);
    expect((await change(kept.id, { stateful: false })).body.security_group.stateful).toBe(false);
    expect((await change(kept.id, { stateful: true })).status).toBe(200);
    const groups = (await call('demo', 'GET', '/security-groups?name=default')).body.security_groups;
    expect((await change(groups[0].id, { stateful: false })).body.NeutronError.type).toBe(
      'SecurityGroupCannotUpdateDefault',
    );
  });
  it('OSSA-2021-005 take no DHCP option of several lines', async () => {
    const made = await network('demo');
    const { port } = (await call('demo', 'POST', '/ports', { port: { network_id: made.id } })).body;
    for (const evil of ['x\ndhcp-script=/bin/sh', 'x\r', '\u0000', 'x\u0085', '\u001b[0m'])
      for (const option of [
        { opt_name: 'bootfile-name', opt_value: evil },
        { opt_name: evil, opt_value: 'x' },
      ]) {
        const extra_dhcp_opts = [option];
        const reply = await call('demo', 'PUT', `/ports/${port.id}`, { port: { extra_dhcp_opts } });
        expect([evil, reply.status]).toEqual([evil, 400]);
        const create = await call('demo', 'POST', '/ports', { port: { network_id: made.id, extra_dhcp_opts } });
        expect(create.status).toBe(400);
      }
    const fine = [{ opt_name: 'bootfile-name', opt_value: 'pxelinux.0' }];
    const reply = await call('demo', 'PUT', `/ports/${port.id}`, { port: { extra_dhcp_opts: fine } });
    expect(reply.body.port.extra_dhcp_opts).toMatchObject(fine);
  });
  it('of a server are not deleted by hand', async () => {
    const { network: home } = await withSubnet('demo');
    const serverId = cloud.core.ids.uuid();
    const requested = [{ networkId: home.id, portId: null, fixedIp: null, tag: null }];
    const host = { id: cloud.core.ids.uuid() as never, name: 'node1' };
    const context = {
      actor: { kind: 'service', service: 's' },
      requestId: 'req-1',
      correlationId: 'req-1',
      causationId: null,
      commandId: serverId,
    };
    const [made] = await new ServerPorts(cloud.core).plug(
      { serverId, projectId: project('demo'), hostname: 'h', requested, securityGroups: [], host },
      context as never,
    );
    expect((await problem(call('demo', 'DELETE', `/ports/${made!.portId}`))).slice(0, 2)).toEqual([409, 'PortInUse']);
    expect((await call('demo', 'GET', `/ports?device_id=${serverId}`)).body.ports).toHaveLength(1);
    expect((await call('other', 'GET', `/ports?device_id=${serverId}`)).body.ports).toHaveLength(0);
  });
});

describe('security groups', () => {
  it('begin with a default group of four rules', async () => {
    const { security_groups: groups } = (await call('other', 'GET', '/security-groups?name=default')).body;
    expect(groups).toHaveLength(1);
    const rules = groups[0].security_group_rules.map((r: Record<string, unknown>) => [
      r.direction,
      r.ethertype,
      r.remote_group_id,
    ]);
    expect(rules.sort()).toEqual([
      ['egress', 'IPv4', null],
      ['egress', 'IPv6', null],
      ['ingress', 'IPv4', groups[0].id],
      ['ingress', 'IPv6', groups[0].id],
    ]);
    expect((await problem(call('other', 'DELETE', `/security-groups/${groups[0].id}`))).slice(0, 2)).toEqual([
      409,
      'SecurityGroupCannotRemoveDefault',
    ]);
    expect((await call('other', 'POST', '/security-groups', { security_group: { name: 'default' } })).status).toBe(409);
    const { security_group: second } = (await call('other', 'POST', '/security-groups', { security_group: {} })).body;
    const named = { security_group: { name: 'default' } };
    expect((await call('other', 'PUT', `/security-groups/${second.id}`, named)).status).toBe(409);
  });

  it('get rules once, and refuse senseless ones', async () => {
    const { security_group: group } = (
      await call('demo', 'POST', '/security-groups', { security_group: { name: 'web' } })
    ).body;
    expect(group.security_group_rules).toHaveLength(2);
    const post = (over: object) =>
      call('demo', 'POST', '/security-group-rules', {
        security_group_rule: { security_group_id: group.id, direction: 'ingress', ...over },
      });
    const ssh = { protocol: 'tcp', port_range_min: 22, port_range_max: 22 };
    const made = await post(ssh);
    expect(made).toMatchObject({ status: 201, body: { security_group_rule: { protocol: 'tcp', ethertype: 'IPv4' } } });
    expect(await problem(post({ ...ssh, protocol: '6' }))).toEqual([
      409,
      'SecurityGroupRuleExists',
      `Security group rule already exists. Rule id is ${made.body.security_group_rule.id}.`,
    ]);
    const type = async (over: object) => (await problem(post(over))).slice(0, 2);
    expect(await type({ port_range_min: 1, port_range_max: 2 })).toEqual([
      400,
      'SecurityGroupProtocolRequiredWithPorts',
    ]);
    expect(await type({ ...ssh, port_range_min: 23 })).toEqual([400, 'SecurityGroupInvalidPortRange']);
    expect(await type({ protocol: 'nonsense' })).toEqual([400, 'SecurityGroupRuleInvalidProtocol']);
    expect(await type({ ...ssh, port_range_min: -16 })).toEqual([400, 'SecurityGroupInvalidPortValue']);
    expect((await type({ ...ssh, remote_group_id: 'nowhere' }))[0]).toBe(404);
    expect(await type({ protocol: 'icmp', port_range_min: 300 })).toEqual([400, 'SecurityGroupInvalidIcmpValue']);
    expect(await type({ remote_ip_prefix: 'fd00::/8' })).toEqual([400, 'SecurityGroupRuleParameterConflict']);
    expect(await type({ direction: 'up' })).toEqual([400, 'HTTPBadRequest']);
    const rule = made.body.security_group_rule.id;
    expect((await call('other', 'DELETE', `/security-group-rules/${rule}`)).status).toBe(404);
    expect((await call('demo', 'DELETE', `/security-group-rules/${rule}`)).status).toBe(204);
    expect((await call('demo', 'DELETE', `/security-group-rules/${rule}`)).status).toBe(404);
  });

  it('OSSN-0095 take no rule that nothing here enforces', async () => {
    const { security_group } = (await call('demo', 'POST', '/security-groups', { security_group: { name: 'g' } })).body;
    const rule = { security_group_id: security_group.id, direction: 'ingress', protocol: 'tcp' };
    for (const more of [{ remote_address_group_id: security_group.id }, { remote_address_group_id: 'x' }, { qos: 1 }]) {
      const reply = await call('demo', 'POST', '/security-group-rules', { security_group_rule: { ...rule, ...more } });
      expect([more, reply.status]).toEqual([more, 400]);
    }
    const left = (await call('demo', 'GET', `/security-groups/${security_group.id}`)).body.security_group;
    expect(left.security_group_rules).toHaveLength(2);
  });
  it('are not deleted while a port is in them', async () => {
    const { security_group: group } = (
      await call('demo', 'POST', '/security-groups', { security_group: { name: 'used' } })
    ).body;
    const { network: home } = await withSubnet('demo');
    const { port } = (
      await call('demo', 'POST', '/ports', { port: { network_id: home.id, security_groups: [group.id] } })
    ).body;
    expect((await problem(call('demo', 'DELETE', `/security-groups/${group.id}`))).slice(0, 2)).toEqual([
      409,
      'SecurityGroupInUse',
    ]);
    await call('demo', 'DELETE', `/ports/${port.id}`);
    expect((await call('demo', 'DELETE', `/security-groups/${group.id}`)).status).toBe(204);
  });
});

describe('rules of security groups', () => {
  const make = async (name: string) =>
    (await call('demo', 'POST', '/security-groups', { security_group: { name } })).body.security_group;
  const add = async (groupId: string, over: object) =>
    (
      await call('demo', 'POST', '/security-group-rules', {
        security_group_rule: { security_group_id: groupId, direction: 'ingress', ...over },
      })
    ).body.security_group_rule;
  it('keep the host bits of a range, and say the range', async () => {
    const { id } = await make('ranges');
    expect(await add(id, { remote_ip_prefix: '10.2.3.124/24' })).toMatchObject({
      remote_ip_prefix: '10.2.3.124/24',
      normalized_cidr: '10.2.3.0/24',
    });
    expect(await add(id, { remote_ip_prefix: '10.2.3.0/24' })).toBeUndefined();
    expect(await add(id, { remote_ip_prefix: '192.0.2.7' })).toMatchObject({ remote_ip_prefix: '192.0.2.7/32' });
    expect(await add(id, { remote_ip_prefix: '10.2.3.4/24/7' })).toBeUndefined();
  });
  it('go with the group whose members they name', async () => {
    const [own, peer] = [await make('own'), await make('peer')];
    await add(own.id, { remote_group_id: peer.id });
    const rules = async () =>
      (await call('demo', 'GET', `/security-groups/${own.id}`)).body.security_group.security_group_rules.length;
    expect(await rules()).toBe(3);
    await call('demo', 'DELETE', `/security-groups/${peer.id}`);
    expect(await rules()).toBe(2);
  });
});

describe('quotas', () => {
  it('hold against parallel requests', async () => {
    const path = `/quotas/${project('other')}`;
    const used = (await call('other', 'GET', `${path}/details.json`)).body.quota.network.used;
    expect((await call('admin', 'PUT', path, { quota: { network: used + 2 } })).body.quota.network).toBe(used + 2);
    const all = await Promise.all([1, 2, 3, 4, 5, 6].map(() => call('other', 'POST', '/networks', { network: {} })));
    expect(all.map((r) => r.status).sort()).toEqual([201, 201, 409, 409, 409, 409]);
    expect(all.find((r) => r.status === 409)!.body.NeutronError).toMatchObject({
      type: 'OverQuota',
      message: "Quota exceeded for resources: ['network'].",
    });
    expect((await call('other', 'PUT', path, { quota: { network: 1000 } })).status).toBe(403);
    expect((await call('admin', 'DELETE', path)).status).toBe(204);
    expect((await call('admin', 'DELETE', path)).status).toBe(404);
    expect((await call('demo', 'GET', path)).status).toBe(403);
  });
});

describe('the service itself', () => {
  it('names only the extensions it serves', async () => {
    const aliases = (await call('demo', 'GET', '/extensions')).body.extensions.map((e: { alias: string }) => e.alias);
    expect(aliases).toContain('external-net');
    expect(aliases).not.toContain('router');
    expect((await call('demo', 'GET', '/extensions/router')).status).toBe(404);
    expect((await call('demo', 'GET', '/extensions/security-group')).body.extension.alias).toBe('security-group');
    expect((await call('demo', 'GET', '/routers')).status).toBe(404);
  });

  it('tells zones, agents and how many addresses are in use', async () => {
    expect((await call('demo', 'GET', '/availability_zones')).body.availability_zones[0].name).toBe('nova');
    expect((await call('admin', 'GET', '/agents')).body).toEqual({ agents: [] });
    const { network: home } = await withSubnet('admin', '10.44.0.0/29');
    await call('admin', 'POST', '/ports', { port: { network_id: home.id } });
    expect(
      (await call('admin', 'GET', `/network-ip-availabilities/${home.id}`)).body.network_ip_availability,
    ).toMatchObject({
      total_ips: 5,
      used_ips: 1,
    });
    expect((await call('demo', 'GET', '/network-ip-availabilities')).status).toBe(403);
  });
});
