import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiCloud } from '../simulate/api-cloud.js';
import { type Belongings, settle } from './people.js';

let api: ApiCloud;
let me: Belongings;
beforeAll(async () => {
  api = await ApiCloud.start();
  me = await settle(api, 'alpha');
});
afterAll(async () => {
  expect(api.complaints).toEqual([]);
  await api.stop();
});

const at = (method: string, path: string, body?: unknown, version = '2.35') =>
  api.call('compute', method, `/v2.1${path}`, { token: me.token, version, body });
const group = (name: string) => ({ security_group: { name, description: 'mine' } });

describe('security groups in Compute', () => {
  it('are those of Network, in the form of before', async () => {
    const made = await at('POST', '/os-security-groups', group('web'));
    expect(made.status, made.text).toBe(200);
    const { id } = made.json.security_group;
    const rule = (more: object) => ({ security_group_rule: { parent_group_id: id, ...more } });
    const http = await at(
      'POST',
      '/os-security-group-rules',
      rule({ ip_protocol: 'TCP', from_port: '80', to_port: 80 }),
    );
    expect(http.json.security_group_rule).toEqual({
      id: expect.any(String),
      parent_group_id: id,
      ip_protocol: 'tcp',
      from_port: 80,
      to_port: 80,
      ip_range: { cidr: '0.0.0.0/0' },
      group: {},
    });
    const ping = await at(
      'POST',
      '/os-security-group-rules',
      rule({ ip_protocol: 'icmp', from_port: -1, to_port: -1 }),
    );
    expect(ping.json.security_group_rule).toMatchObject({ from_port: -1, to_port: -1 });
    const twice = await at('POST', '/os-security-group-rules', rule({ ip_protocol: 'icmp' }));
    expect(twice).toMatchObject({ status: 400, json: { badRequest: { code: 400 } } });
    expect((await at('POST', '/os-security-group-rules', rule({}))).status).toBe(400);

    expect((await at('DELETE', `/os-security-group-rules/${ping.json.security_group_rule.id}`)).status).toBe(202);
    const renamed = await at('PUT', `/os-security-groups/${id}`, group('renamed'));
    expect(renamed.json.security_group).toMatchObject({ name: 'renamed', rules: [{ ip_protocol: 'tcp' }] });
    const { security_groups } = (await at('GET', '/os-security-groups')).json;
    expect(security_groups.map((g: { name: string }) => g.name)).toEqual(['alpha-group', 'default', 'renamed']);
    expect((await at('DELETE', `/os-security-groups/${id}`)).status).toBe(202);
    expect((await at('GET', `/os-security-groups/${id}`)).status).toBe(404);
    expect((await at('GET', '/os-security-groups/x')).status).toBe(400);
  });

  it('are gone from 2.36 on', async () => {
    expect((await at('GET', '/os-security-groups', undefined, '2.36')).status).toBe(404);
    expect((await at('POST', '/os-security-group-rules', {}, '2.36')).status).toBe(404);
  });
});

it('networks in Compute have their id and name', async () => {
  const { networks } = (await at('GET', '/os-networks')).json;
  expect(networks).toMatchObject([{ id: me.network, label: 'alpha-network', cidr: null }]);
  expect((await at('GET', `/os-networks/${me.network}`)).json.network.label).toBe('alpha-network');
  expect((await at('GET', '/os-tenant-networks')).json.networks).toEqual([
    { id: me.network, cidr: 'None', label: 'alpha-network' },
  ]);
  expect(await at('GET', '/os-tenant-networks/x')).toMatchObject({
    status: 404,
    json: { itemNotFound: { message: 'Network not found' } },
  });
});
