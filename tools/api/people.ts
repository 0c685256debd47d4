import type { ServerId } from '@omnivisor/contracts';
import type { ApiCloud } from '../simulate/api-cloud.js';

/** What somebody of a project has: an object of each kind that the API can make, by the names that samples use. */
export interface Belongings {
  readonly projectId: string;
  readonly userId: string;
  readonly userName: string;
  readonly password: string;
  /** Of a member of the project. */
  readonly token: string;
  readonly credential: string;
  /** A credential that Identity keeps for other services, and the name of an EC2 key. */
  readonly stored: string;
  readonly key: string;
  /** An access rule of the user's programs. */
  readonly accessRule: string;
  /** Of the project, set by the cloud's admin. */
  readonly limit: string;
  readonly network: string;
  readonly subnet: string;
  readonly port: string;
  readonly group: string;
  readonly rule: string;
  readonly image: string;
  readonly keypair: string;
  readonly flavor: string;
  readonly server: string;
  readonly serverPort: string;
  readonly serverAddress: string;
  readonly request: string;
  readonly serverGroup: string;
  readonly console: string;
  /** A resource provider that the cloud's admin registered. */
  readonly provider: string;
  /** Occurs in names, tags and texts of all of it, and nowhere else. */
  readonly word: string;
}

/** Headers by which services behind a trusting middleware are told who asks: here they mean nothing. */
export const forgedIdentity = (of: Belongings): Record<string, string> => ({
  'x-identity-status': 'Confirmed',
  'x-service-identity-status': 'Confirmed',
  'x-user-id': of.userId,
  'x-user': of.userName,
  'x-user-name': of.userName,
  'x-user-domain-id': 'default',
  'x-project-id': of.projectId,
  'x-project-domain-id': 'default',
  'x-tenant-id': of.projectId,
  'x-auth-project-id': of.projectId,
  'x-roles': 'admin,member,reader,service,auditor',
  'x-role': 'admin',
  'x-service-roles': 'admin,service',
  'x-is-admin-project': 'True',
  'openstack-system-scope': 'all',
  'remote-user': of.userName,
  'x-forwarded-user': of.userName,
});

/** Makes a project, a member of it, and everything that a member can have. */
export const settle = async (api: ApiCloud, word: string, subnet24 = '10.9.0'): Promise<Belongings> => {
  const { admin } = api;
  const { project } = await api.does('identity', 'POST', '/v3/projects', {
    token: admin,
    body: { project: { name: `${word}-project` } },
  });
  const password = `${word}-password`;
  const { user } = await api.does('identity', 'POST', '/v3/users', {
    token: admin,
    body: { user: { name: `${word}-user`, password } },
  });
  const { roles } = await api.does('identity', 'GET', '/v3/roles?name=member', { token: admin });
  await api.does('identity', 'PUT', `/v3/projects/${project.id}/users/${user.id}/roles/${roles[0].id}`, {
    token: admin,
  });
  const token = await api.login(user.name, password, { project: { id: project.id } });
  const make = (service: string, path: string, body: unknown, version?: string) =>
    api.does(service, 'POST', path, { token, body, version });

  const { application_credential } = await make('identity', `/v3/users/${user.id}/application_credentials`, {
    application_credential: {
      name: `${word}-credential`,
      secret: `${word}-secret`,
      access_rules: [{ service: 'compute', method: 'GET', path: `/v2.1/${word}` }],
    },
  });
  const { credential: stored } = await make('identity', '/v3/credentials', {
    credential: { type: 'totp', blob: `${word}-blob`, user_id: user.id },
  });
  const { credential: key } = await make('identity', `/v3/users/${user.id}/credentials/OS-EC2`, {
    tenant_id: project.id,
  });
  const { services } = await api.does('identity', 'GET', '/v3/services', { token: admin });
  const resource = { service_id: services[0].id, resource_name: `${word}-resource` };
  await api.does('identity', 'POST', '/v3/registered_limits', {
    token: admin,
    body: { registered_limits: [{ ...resource, default_limit: 1 }] },
  });
  const { limits } = await api.does('identity', 'POST', '/v3/limits', {
    token: admin,
    body: { limits: [{ ...resource, resource_limit: 2, project_id: project.id }] },
  });
  const { network } = await make('network', '/v2.0/networks', { network: { name: `${word}-network` } });
  const { subnet } = await make('network', '/v2.0/subnets', {
    subnet: { network_id: network.id, ip_version: 4, cidr: `${subnet24}.0/24`, name: `${word}-subnet` },
  });
  const { port } = await make('network', '/v2.0/ports', {
    port: { network_id: network.id, name: `${word}-port` },
  });
  const { security_group } = await make('network', '/v2.0/security-groups', {
    security_group: { name: `${word}-group` },
  });
  const { security_group_rule } = await make('network', '/v2.0/security-group-rules', {
    security_group_rule: { security_group_id: security_group.id, direction: 'ingress', protocol: 'tcp' },
  });
  for (const [kind, id] of [
    ['networks', network.id],
    ['subnets', subnet.id],
    ['ports', port.id],
    ['security-groups', security_group.id],
  ])
    await api.does('network', 'PUT', `/v2.0/${kind}/${id}/tags/${word}`, { token });
  const image = await make('image', '/v2/images', {
    name: `${word}-image`,
    disk_format: 'raw',
    container_format: 'bare',
    tags: [word],
  });
  await api.does('image', 'PUT', `/v2/images/${image.id}/file`, {
    token,
    body: Buffer.alloc(1_024),
    headers: { 'content-type': 'application/octet-stream' },
  });
  const { keypair } = await make('compute', '/v2.1/os-keypairs', { keypair: { name: `${word}-keypair` } });
  const { flavor } = await api.does('compute', 'POST', '/v2.1/flavors', {
    token: admin,
    body: { flavor: { name: `${word}-flavor`, ram: 64, vcpus: 1, disk: 1, 'os-flavor-access:is_public': false } },
  });
  await api.does('compute', 'POST', `/v2.1/flavors/${flavor.id}/action`, {
    token: admin,
    body: { addTenantAccess: { tenant: project.id } },
  });
  const provider = await api.does('placement', 'POST', '/resource_providers', {
    token: admin,
    body: { name: `${word}-provider` },
    version: '1.39',
  });
  await api.does('placement', 'POST', `/resource_providers/${provider.uuid}/inventories`, {
    token: admin,
    body: { resource_class: 'VCPU', total: 8 },
    version: '1.39',
  });
  const { server_group } = await make(
    'compute',
    '/v2.1/os-server-groups',
    { server_group: { name: `${word}-server-group`, policy: 'affinity' } },
    '2.64',
  );
  const { server } = await make(
    'compute',
    '/v2.1/servers',
    {
      server: {
        name: `${word}-server`,
        imageRef: image.id,
        flavorRef: flavor.id,
        key_name: keypair.name,
        networks: [{ uuid: network.id }],
        metadata: { [word]: word },
        tags: [word],
      },
    },
    '2.100',
  );
  await api.cloud.until(server.id as ServerId, (row) => row.vmState === 'active');
  const { interfaceAttachments } = await api.does('compute', 'GET', `/v2.1/servers/${server.id}/os-interface`, {
    token,
  });
  const { instanceActions } = await api.does('compute', 'GET', `/v2.1/servers/${server.id}/os-instance-actions`, {
    token,
  });
  const { remote_console } = await make(
    'compute',
    `/v2.1/servers/${server.id}/remote-consoles`,
    { remote_console: { protocol: 'serial', type: 'serial' } },
    '2.100',
  );
  return {
    projectId: project.id,
    userId: user.id,
    userName: user.name,
    password,
    token,
    credential: application_credential.id,
    stored: stored.id,
    key: key.access,
    limit: limits[0].id,
    accessRule: application_credential.access_rules[0].id,
    network: network.id,
    subnet: subnet.id,
    port: port.id,
    group: security_group.id,
    rule: security_group_rule.id,
    image: image.id,
    keypair: keypair.name,
    flavor: flavor.id,
    server: server.id,
    serverPort: interfaceAttachments[0].port_id,
    serverAddress: interfaceAttachments[0].fixed_ips[0].ip_address,
    request: instanceActions[0].request_id,
    serverGroup: server_group.id,
    console: new URL(remote_console.url).searchParams.get('token')!,
    provider: provider.uuid,
    word,
  };
};

/** As `settle`; its member may do everything and has no bounds, so that neither policy nor quota hides anything. */
export const settleMighty = async (api: ApiCloud, word: string): Promise<Belongings> => {
  const { admin: token } = api;
  const member = await settle(api, word);
  const { projectId, userId } = member;
  for (const name of ['admin', 'service']) {
    const { roles } = await api.does('identity', 'GET', `/v3/roles?name=${name}`, { token });
    await api.does('identity', 'PUT', `/v3/projects/${projectId}/users/${userId}/roles/${roles[0].id}`, { token });
  }
  await api.does('compute', 'PUT', `/v2.1/os-quota-sets/${projectId}`, {
    token,
    body: { quota_set: { instances: -1, cores: -1, ram: -1, server_groups: -1, key_pairs: -1 } },
  });
  return { ...member, token: await api.login(member.userName, member.password, { project: { id: projectId } }) };
};
