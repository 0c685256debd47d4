import type { Belongings } from './people.js';

/** Every secret in a sample; no answer may repeat it. */
export const SECRET = 'hush-hush-hush';
export const SEALED = Buffer.from(SECRET).toString('base64');

/** Bodies that an operation takes, with the names of what they are about from somebody's belongings. */
type Bodies = (of: Belongings) => readonly unknown[];

const tags: Bodies = (of) => [{ tags: [of.word] }];

/** By service, method and path: each operation with a body has at least one. */
export const samples: Readonly<Record<string, Bodies>> = {
  'compute POST /v2.1/flavors': () => [
    { flavor: { name: 'new', ram: 64, vcpus: 1, disk: 1, id: 'new', swap: 0, description: 'x' } },
  ],
  'compute PUT /v2.1/flavors/:id': () => [{ flavor: { description: 'x' } }],
  'compute POST /v2.1/flavors/:id/os-extra_specs': () => [{ extra_specs: { 'hw:cpu_policy': 'shared' } }],
  'compute PUT /v2.1/flavors/:id/os-extra_specs/:key': (of) => [{ [of.word]: 'x' }],
  'compute POST /v2.1/flavors/:id/action': (of) => [
    { addTenantAccess: { tenant: of.projectId } },
    { removeTenantAccess: { tenant: of.projectId } },
  ],
  'compute POST /v2.1/images/:id/metadata': () => [{ metadata: { key: 'value' } }],
  'compute PUT /v2.1/images/:id/metadata': () => [{ metadata: { key: 'value' } }],
  'compute PUT /v2.1/images/:id/metadata/:key': (of) => [{ meta: { [of.word]: 'value' } }],
  'compute POST /v2.1/os-hypervisors/:id/os-omnivisor-guests': (of) => [
    {
      adoption: {
        ...{ guest: 'guest', project_id: of.projectId, flavor: of.flavor, name: 'new' },
        ports: [{ mac: 'fa:16:3e:00:00:99', network: of.network, fixed_ip: of.serverAddress }],
      },
    },
  ],
  'compute POST /v2.1/os-keypairs': (of) => [
    { keypair: { name: 'new', type: 'ssh', user_id: of.userId, public_key: 'ssh-ed25519 AAAA' } },
  ],
  'compute PUT /v2.1/os-quota-sets/:project': () => [{ quota_set: { instances: 3, force: true } }],
  'compute POST /v2.1/servers/:id/action': (of) => [
    { 'os-stop': null },
    { reboot: { type: 'HARD' } },
    { suspend: null },
    { resume: null },
    { lock: { locked_reason: 'x' } },
    { 'os-resetState': { state: 'error' } },
    { addSecurityGroup: { name: of.group } },
    { 'os-getConsoleOutput': { length: 10 } },
    { forceDelete: null },
    { resize: { flavorRef: of.flavor, 'OS-DCF:diskConfig': 'AUTO' } },
    { confirmResize: null },
    { revertResize: null },
    { rebuild: { imageRef: of.image, name: 'x', key_name: of.keypair, adminPass: SECRET, user_data: SEALED } },
    { rebuild: { imageRef: of.image, metadata: { a: 'b' }, description: 'x', hostname: 'host' } },
    { rescue: { adminPass: SECRET, rescue_image_ref: of.image } },
    { unrescue: null },
    { createImage: { name: 'x', metadata: { a: 'b' } } },
  ],
  'compute POST /v2.1/servers/:id/os-interface': (of) => [
    { interfaceAttachment: { net_id: of.network, fixed_ips: [{ ip_address: of.serverAddress }] } },
    { interfaceAttachment: { port_id: of.port, tag: 'x' } },
  ],
  'compute POST /v2.1/servers/:id/remote-consoles': () => [{ remote_console: { protocol: 'serial', type: 'serial' } }],
  'compute POST /v2.1/servers/:id/metadata': () => [{ metadata: { key: 'value' } }],
  'compute PUT /v2.1/servers/:id/metadata': () => [{ metadata: { key: 'value' } }],
  'compute PUT /v2.1/servers/:id/metadata/:key': (of) => [{ meta: { [of.word]: 'value' } }],
  'compute POST /v2.1/servers/:id/migrations/:migration/action': () => [{ force_complete: null }],
  'compute PUT /v2.1/servers/:id/tags': tags,
  'compute POST /v2.1/servers': (of) => [
    server(of, { networks: [{ uuid: of.network, tag: 'x' }] }),
    server(of, { networks: [{ port: of.port }] }),
    server(of, { networks: [{ uuid: of.network, fixed_ip: of.serverAddress }], key_name: of.keypair }),
    server(of, { networks: 'none', security_groups: [{ name: of.group }], metadata: { a: 'b' }, tags: ['t'] }),
    server(of, { networks: 'none', adminPass: SECRET, user_data: SEALED, config_drive: true }),
    { server: { ...server(of, { personality: [{ path: '/x', contents: SEALED }] }).server, adminPass: SECRET } },
    { ...server(of, { networks: 'none', description: 'x' }), 'os:scheduler_hints': { group: of.serverGroup } },
    { ...server(of, { networks: 'none' }), 'os:scheduler_hints': { same_host: [of.server] } },
  ],
  'compute PUT /v2.1/servers/:id': () => [
    { server: { name: 'x', description: 'x', accessIPv4: '192.0.2.1', hostname: 'host', 'OS-DCF:diskConfig': 'AUTO' } },
  ],
  'compute POST /v2.1/os-server-groups': () => [
    { server_group: { name: 'new', policy: 'anti-affinity', rules: { max_server_per_host: 2 } } },
  ],
  'compute POST /v2.1/os-security-groups': () => [{ security_group: { name: 'new', description: 'x' } }],
  'compute PUT /v2.1/os-security-groups/:id': () => [{ security_group: { name: 'x', description: 'x' } }],
  'compute POST /v2.1/os-security-group-rules': (of) => [
    {
      security_group_rule: {
        parent_group_id: of.group,
        ip_protocol: 'tcp',
        from_port: 80,
        to_port: 81,
        cidr: '192.0.2.0/24',
      },
    },
    { security_group_rule: { parent_group_id: of.group, group_id: of.group, ip_protocol: 'udp' } },
  ],
  'compute PUT /v2.1/os-services/:id': () => [{ status: 'disabled', disabled_reason: 'x' }],

  'identity POST /v3/users/:user_id/application_credentials': (of) => [
    { application_credential: { name: 'new', description: 'x', secret: SECRET, roles: [{ name: 'member' }] } },
    {
      application_credential: {
        name: 'bound',
        secret: SECRET,
        access_rules: [{ service: 'compute', method: 'GET', path: '/v2.1/servers' }, { id: of.accessRule }],
      },
    },
  ],
  'identity POST /v3/credentials': (of) => [
    { credential: { type: 'totp', blob: SECRET, user_id: of.userId, project_id: null } },
    { credential: { type: 'cert', blob: SECRET, user_id: of.userId, project_id: of.projectId } },
  ],
  'identity PATCH /v3/credentials/:credential_id': (of) => [{ credential: { blob: SECRET, project_id: of.projectId } }],
  'identity POST /v3/users/:user_id/credentials/OS-EC2': (of) => [{ tenant_id: of.projectId }],
  'identity POST /v3/ec2tokens': (of) => [
    {
      credentials: {
        access: of.key,
        signature: SEALED,
        host: 'cloud.example',
        verb: 'GET',
        path: '/',
        params: { SignatureVersion: '2', Timestamp: '2026-01-31T12:00:00Z' },
        headers: { Authorization: 'AWS4-HMAC-SHA256 Credential=x/20260131/R/ec2/aws4_request, SignedHeaders=host' },
        body_hash: 'x',
      },
    },
  ],
  'identity POST /v3/s3tokens': (of) => [{ credentials: { access: of.key, signature: SEALED, token: SEALED } }],
  'identity POST /v3/registered_limits': (of) => [
    { registered_limits: [{ ...limited(of), default_limit: 1, description: 'x' }] },
  ],
  'identity PATCH /v3/registered_limits/:id': () => [{ registered_limit: { default_limit: 2, description: 'x' } }],
  'identity POST /v3/limits': (of) => [
    { limits: [{ ...limited(of), resource_limit: 1, description: 'x', project_id: of.projectId, domain_id: null }] },
  ],
  'identity PATCH /v3/limits/:limit_id': () => [{ limit: { resource_limit: 2, description: 'x' } }],
  'identity POST /v3/roles': () => [{ role: { name: 'new', description: 'x', options: {} } }],
  'identity PATCH /v3/roles/:role_id': () => [{ role: { name: 'new', description: 'x' } }],
  'identity POST /v3/regions': () => [{ region: { id: 'new', description: 'x', parent_region_id: 'RegionOne' } }],
  'identity PUT /v3/regions/:id': () => [{ region: { description: 'x', parent_region_id: 'RegionOne' } }],
  'identity PATCH /v3/regions/:id': () => [{ region: { description: 'x' } }],
  'identity POST /v3/services': () => [{ service: { name: 'new', type: 'x', description: 'x', enabled: true } }],
  'identity PATCH /v3/services/:id': () => [{ service: { name: 'new' } }],
  'identity POST /v3/endpoints': () => [
    { endpoint: { service_id: 'a'.repeat(32), interface: 'public', url: 'http://x.example', region_id: 'RegionOne' } },
  ],
  'identity PATCH /v3/endpoints/:id': () => [{ endpoint: { url: 'http://x.example' } }],
  'identity POST /v3/domains': () => [{ domain: { name: 'new', description: 'x', enabled: true } }],
  'identity PATCH /v3/domains/:id': () => [{ domain: { name: 'new', description: 'x' } }],
  'identity POST /v3/groups': () => [{ group: { name: 'new', description: 'x', domain_id: 'default' } }],
  'identity PATCH /v3/groups/:group_id': () => [{ group: { name: 'new', description: 'x' } }],
  'identity POST /v3/projects': (of) => [
    { project: { name: 'new', description: 'x', parent_id: of.projectId, tags: ['t'], enabled: true } },
  ],
  'identity PATCH /v3/projects/:project_id': () => [{ project: { name: 'new', description: 'x', tags: ['t'] } }],
  'identity PUT /v3/projects/:project_id/tags': tags,
  'identity POST /v3/auth/tokens': (of) => [
    {
      auth: {
        identity: { methods: ['password'], password: { user: { id: of.userId, password: SECRET } } },
        scope: { project: { id: of.projectId } },
      },
    },
    {
      auth: {
        identity: {
          methods: ['application_credential'],
          application_credential: { id: of.credential, secret: SECRET },
        },
      },
    },
  ],
  'identity POST /v3/users': (of) => [
    { user: { name: 'new', password: SECRET, default_project_id: of.projectId, email: 'x@x.example', enabled: true } },
  ],
  'identity PATCH /v3/users/:user_id': () => [{ user: { name: 'new', description: 'x' } }],
  'identity POST /v3/users/:user_id/password': () => [{ user: { original_password: SECRET, password: SECRET } }],

  'network PUT /v2.0/:kind/:id/tags': tags,
  'network POST /v2.0/:kind/:id/tags': tags,
  'network POST /v2.0/networks': () => [
    { network: { name: 'new', admin_state_up: true, description: 'x', mtu: 1400, port_security_enabled: true } },
  ],
  'network PUT /v2.0/networks/:id': () => [{ network: { name: 'x', description: 'x', admin_state_up: false } }],
  'network POST /v2.0/subnets': (of) => [
    {
      subnet: {
        network_id: of.network,
        ip_version: 4,
        cidr: '10.99.0.0/24',
        gateway_ip: '10.99.0.1',
        allocation_pools: [{ start: '10.99.0.10', end: '10.99.0.20' }],
        dns_nameservers: ['192.0.2.1'],
        host_routes: [{ destination: '10.98.0.0/24', nexthop: '10.99.0.2' }],
        enable_dhcp: true,
        name: 'new',
      },
    },
  ],
  'network PUT /v2.0/subnets/:id': () => [{ subnet: { name: 'x', dns_nameservers: ['192.0.2.2'] } }],
  'network POST /v2.0/ports': (of) => [
    { port: { network_id: of.network, name: 'new', admin_state_up: true, mac_address: 'fa:16:3e:00:11:22' } },
    { port: { network_id: of.network, fixed_ips: [{ subnet_id: of.subnet }] } },
    { port: { network_id: of.network, security_groups: [of.group], device_id: 'x' } },
    { port: { network_id: of.network, allowed_address_pairs: [{ ip_address: '10.97.0.9' }] } },
  ],
  'network PUT /v2.0/ports/:id': (of) => [
    { port: { name: 'x', description: 'x', admin_state_up: true } },
    { port: { security_groups: [of.group] } },
    { port: { fixed_ips: [{ subnet_id: of.subnet }] } },
  ],
  'network PUT /v2.0/quotas/:id': () => [{ quota: { network: 3, port: 10 } }],
  'network POST /v2.0/security-groups': () => [{ security_group: { name: 'new', description: 'x', stateful: true } }],
  'network PUT /v2.0/security-groups/:id': () => [{ security_group: { name: 'x', description: 'x' } }],
  'network POST /v2.0/security-group-rules': (of) => [
    {
      security_group_rule: {
        security_group_id: of.group,
        direction: 'ingress',
        ethertype: 'IPv4',
        protocol: 'tcp',
        port_range_min: 22,
        port_range_max: 23,
        remote_ip_prefix: '192.0.2.0/24',
      },
    },
    { security_group_rule: { security_group_id: of.group, direction: 'egress', remote_group_id: of.group } },
  ],

  'image POST /v2/images': () => [
    {
      name: 'new',
      disk_format: 'raw',
      container_format: 'bare',
      min_disk: 1,
      min_ram: 1,
      visibility: 'private',
      protected: false,
      tags: ['t'],
      os_type: 'linux',
    },
  ],
  'image PATCH /v2/images/:id': () => [[{ op: 'replace', path: '/name', value: 'x' }]],
  'image PUT /v2/images/:id/file': () => ['bytes'],
  'image PUT /v2/images/:id/stage': () => ['bytes'],
  'image POST /v2/images/:id/import': () => [
    { method: { name: 'glance-direct' } },
    { method: { name: 'web-download', uri: 'ftp://192.0.2.1/x' } },
  ],
  'image POST /v2/images/:id/actions/os-omnivisor-inject': () => [{ hypervisors: ['kvm'] }],
  'image POST /v2/images/:id/members': (of) => [{ member: of.projectId }],
  'image PUT /v2/images/:id/members/:member': () => [{ status: 'accepted' }],

  'placement POST /resource_providers': (of) => [{ name: 'new', parent_provider_uuid: of.provider }],
  'placement PUT /resource_providers/:uuid': () => [{ name: 'new', parent_provider_uuid: null }],
  'placement POST /resource_providers/:uuid/inventories': () => [{ resource_class: 'DISK_GB', ...inventory }],
  'placement PUT /resource_providers/:uuid/inventories': () => [
    { resource_provider_generation: 1, inventories: { VCPU: inventory } },
  ],
  'placement PUT /resource_providers/:uuid/inventories/:resource_class': () => [
    { resource_provider_generation: 1, ...inventory },
  ],
  'placement PUT /resource_providers/:uuid/aggregates': () => [
    { resource_provider_generation: 1, aggregates: [AGGREGATE] },
    [AGGREGATE],
  ],
  'placement PUT /resource_providers/:uuid/traits': () => [
    { resource_provider_generation: 1, traits: ['HW_CPU_X86_AVX'] },
  ],
  'placement POST /resource_classes': () => [{ name: 'CUSTOM_NEW' }],
  'placement PUT /resource_classes/:name': () => [{ name: 'CUSTOM_NEW' }],
  'placement PUT /allocations/:consumer': (of) => [
    allocations(of),
    { allocations: [{ resource_provider: { uuid: of.provider }, resources: { VCPU: 1 } }] },
  ],
  'placement POST /allocations': (of) => [{ [of.server]: allocations(of) }, { [of.network]: allocations(of) }],
  'placement POST /reshaper': (of) => [
    {
      inventories: { [of.provider]: { resource_provider_generation: 1, inventories: { VCPU: inventory } } },
      allocations: { [of.network]: allocations(of) },
    },
  ],
};

const limited = (of: Belongings) => ({
  service_id: 'a'.repeat(32),
  region_id: null,
  resource_name: `${of.word}-resource`,
});
const AGGREGATE = '11111111-1111-4111-8111-111111111111';
const inventory = { total: 9, reserved: 1, min_unit: 1, max_unit: 9, step_size: 1, allocation_ratio: 1.5 };
const allocations = (of: Belongings) => ({
  allocations: { [of.provider]: { resources: { VCPU: 1 } } },
  project_id: of.projectId,
  user_id: of.userId,
  consumer_generation: null,
  consumer_type: 'THING',
  mappings: { '': [of.provider] },
});

const server = (of: Belongings, more: object) => ({
  server: { name: 'new', imageRef: of.image, flavorRef: of.flavor, ...more },
});

/** Bodies to try an operation with. @throws Error when nobody has written one */
export const bodiesOf = (
  spec: {
    readonly service: string;
    readonly method: string;
    readonly path: string;
    readonly body?: unknown;
    readonly stream?: boolean;
  },
  of: Belongings,
): readonly unknown[] => {
  if (!spec.body && !spec.stream) return [undefined];
  const key = `${spec.service} ${spec.method} ${spec.path.replace(/\(.*?\)/, '')}`;
  const bodies = samples[key];
  if (!bodies) throw new Error(`what does ${key} take? Add a sample to tools/api/samples.ts`);
  return bodies(of);
};

/** The type a body is sent as. */
export const contentType = (spec: { readonly method: string; readonly stream?: boolean }): string => {
  if (!spec.stream) return 'application/json';
  return spec.method === 'PATCH' ? 'application/openstack-images-v2.1-json-patch' : 'application/octet-stream';
};
