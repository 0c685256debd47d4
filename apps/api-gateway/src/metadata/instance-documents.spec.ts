import type { Instant, ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { history } from '../compute/server/lifecycle/server.fixtures.js';
import { evolve } from '../compute/server/lifecycle/server-evolve.js';
import { noServer } from '../compute/server/state/server.js';
import type { ServerRow } from '../compute/server/view/server.projection.js';
import { answerMetadata, configDriveFiles, METADATA_VERSIONS } from './instance-documents.js';
import { type GuestPort, networkData } from './network-data.js';

const server = {
  ...evolve(noServer, { ...history.created, data: { ...history.request, metadata: { role: 'web' } } } as never),
  id: history.serverId as ServerId,
  keyName: 'mine',
  publicKey: 'ssh-ed25519 AAAA me',
  availabilityZone: 'nova',
  imageId: history.request.image.id,
  createdAt: '2026-01-01T00:00:00.000Z' as Instant,
} as unknown as ServerRow;
const port = {
  portId: '11111111-2222-4333-8444-555555555555',
  networkId: '99999999-2222-4333-8444-555555555555',
  mac: 'fa:16:3e:00:00:01',
  mtu: 1450,
  addresses: [
    {
      address: '10.0.0.5',
      subnet: { version: 4, cidr: '10.0.0.0/24', dhcp: true, ipv6AddressMode: null, dnsNameservers: ['192.0.2.53'] },
    },
  ],
} as unknown as GuestPort;
const onSubnet = (address: string, subnet: object) => ({
  address,
  subnet: { gateway: null, dhcp: true, ipv6AddressMode: null, dnsNameservers: [], hostRoutes: [], ...subnet },
});
const secrets = {
  userData: Buffer.from('#!/bin/sh\n\xff', 'latin1'),
  files: [{ path: '/etc/motd', contents: Buffer.from('hello\xff', 'latin1') }],
  randomSeed: Buffer.alloc(512, 7),
};
const ask = (path: string, withUserData = true) =>
  answerMetadata(path, server, [port], withUserData ? secrets : { ...secrets, userData: null });

describe('the metadata service', () => {
  it('lists its versions', () => {
    expect(ask('/openstack').body.split('\n')).toEqual([...METADATA_VERSIONS, 'latest']);
    expect(ask('/').body).toContain('latest');
  });
  it('tells a guest who it is', () => {
    const document = JSON.parse(ask('/openstack/latest/meta_data.json').body);
    expect(document).toMatchObject({
      uuid: history.serverId,
      name: 'web',
      hostname: 'web.novalocal',
      meta: { role: 'web' },
      public_keys: { mine: 'ssh-ed25519 AAAA me' },
      launch_index: 0,
      availability_zone: 'nova',
    });
    expect(Buffer.from(document.random_seed, 'base64')).toHaveLength(512);
  });
  it('tells a guest its networks', () => {
    expect(JSON.parse(ask('/openstack/2018-08-27/network_data.json').body)).toMatchObject({
      links: [{ vif_id: port.portId, ethernet_mac_address: port.mac, mtu: 1450 }],
      networks: [{ type: 'ipv4_dhcp', network_id: port.networkId }],
      services: [{ type: 'dns', address: '192.0.2.53' }],
    });
  });
  it('tells a guest all of an address that nobody leases', () => {
    const several = {
      ...port,
      addresses: [
        onSubnet('10.1.0.5', {
          version: 4,
          cidr: '10.1.0.0/20',
          gateway: '10.1.0.1',
          dhcp: false,
          hostRoutes: [{ destination: '192.0.2.0/24', nexthop: '10.1.0.9' }],
        }),
        onSubnet('fd00::f816:3eff:fe00:1', { version: 6, cidr: 'fd00::/64', ipv6AddressMode: 'slaac' }),
        onSubnet('fd01::5', { version: 6, cidr: 'fd01::/64', gateway: 'fd01::1', ipv6AddressMode: 'dhcpv6-stateful' }),
        onSubnet('fd02::5', { version: 6, cidr: 'fd02::/64' }),
      ],
    } as unknown as GuestPort;
    const common = { link: 'tap11111111-22', network_id: port.networkId };
    const six = { ...common, netmask: 'ffff:ffff:ffff:ffff::', services: [] };
    expect(networkData([several]).networks).toEqual([
      {
        ...common,
        id: 'network0',
        type: 'ipv4',
        ip_address: '10.1.0.5',
        netmask: '255.255.240.0',
        routes: [
          { network: '0.0.0.0', netmask: '0.0.0.0', gateway: '10.1.0.1' },
          { network: '192.0.2.0', netmask: '255.255.255.0', gateway: '10.1.0.9' },
        ],
        services: [],
      },
      { ...six, id: 'network1', type: 'ipv6_slaac', ip_address: 'fd00::f816:3eff:fe00:1', routes: [] },
      {
        ...six,
        id: 'network2',
        type: 'ipv6_dhcpv6-stateful',
        ip_address: 'fd01::5',
        routes: [{ network: '::', netmask: '::', gateway: 'fd01::1' }],
      },
      { ...common, id: 'network3', type: 'ipv6_dhcp' },
    ]);
  });
  it('gives user data byte for byte', () => {
    expect(Buffer.from(ask('/openstack/latest/user_data').body, 'latin1')).toEqual(secrets.userData);
    expect(Buffer.from(ask('/latest/user-data').body, 'latin1')).toEqual(secrets.userData);
  });
  it('knows EC2 names as cloud images do', () => {
    expect(ask('/latest/meta-data/').body).toContain('instance-id');
    expect(ask('/2009-04-04/meta-data/public-keys/').body).toBe('0=mine');
    expect(ask('/latest/meta-data/public-keys/0/openssh-key').body).toBe('ssh-ed25519 AAAA me\n');
    expect(ask('/latest/meta-data/placement/').body).toBe('availability-zone');
  });
  it.each([
    '/openstack/latest/secrets',
    '/openstack/1999-01-01/meta_data.json',
    '/openstack/latest/meta_data.json/x',
    '/latest/meta-data/nothing',
    '/openstack/latest/../../etc/passwd',
  ])('has nothing at %s', (path) => expect(ask(path).status).toBe(404));
  it('gives the files that came with the request', () => {
    const [file] = JSON.parse(ask('/openstack/latest/meta_data.json').body).files;
    expect(file).toEqual({ path: '/etc/motd', content_path: '/content/0000' });
    const contents = ask(`/openstack${file.content_path}`).body;
    expect(Buffer.from(contents, 'latin1')).toEqual(secrets.files[0]!.contents);
    for (const path of ['/openstack/content', '/openstack/content/0001', '/openstack/content/0000/x'])
      expect(ask(path).status, path).toBe(404);
  });
  it('has no user data when there is none', () => expect(ask('/openstack/latest/user_data', false).status).toBe(404));
});

describe('the config drive', () => {
  it('has what the metadata service says', () => {
    const files = configDriveFiles(server, [port], secrets);
    expect([...files.keys()]).toContain('openstack/latest/meta_data.json');
    expect(JSON.parse(files.get('openstack/latest/meta_data.json')!.toString())).toEqual(
      JSON.parse(ask('/openstack/latest/meta_data.json').body),
    );
    expect(files.get('openstack/latest/user_data')).toEqual(secrets.userData);
    expect(files.get('openstack/content/0000')).toEqual(secrets.files[0]!.contents);
  });
});
