import type { ServerRow } from '../compute/server/view/server.projection.js';
import { type GuestPort, networkData } from './network-data.js';

export interface GuestSecrets {
  readonly userData: Buffer | null;
  /** Files that the request for the server brought along. */
  readonly files: readonly { readonly path: string; readonly contents: Buffer }[];
  /** 512 random bytes for the guest's entropy pool. */
  readonly randomSeed: Buffer;
}

/** Versions of the OpenStack metadata format that are served; each is a folder, `latest` is the newest. */
export const METADATA_VERSIONS = [
  '2012-08-10',
  '2013-04-04',
  '2013-10-17',
  '2015-10-15',
  '2016-06-30',
  '2016-10-06',
  '2017-02-22',
  '2018-08-27',
  '2020-10-14',
] as const;

const fqdn = (server: ServerRow) => `${server.hostname}.novalocal`;

const contentName = (index: number) => String(index).padStart(4, '0');

/** `meta_data.json`; source: metadata service of Nova, format 2020-10-14. */
export const metaData = (server: ServerRow, secrets: GuestSecrets) => ({
  uuid: server.id,
  name: server.name,
  hostname: fqdn(server),
  launch_index: server.launchIndex,
  availability_zone: server.availabilityZone,
  project_id: server.projectId,
  meta: server.metadata,
  ...(server.keyName && server.publicKey
    ? {
        public_keys: { [server.keyName]: server.publicKey },
        keys: [{ name: server.keyName, type: 'ssh', data: server.publicKey }],
      }
    : {}),
  ...(secrets.files.length > 0
    ? { files: secrets.files.map(({ path }, i) => ({ content_path: `/content/${contentName(i)}`, path })) }
    : {}),
  random_seed: secrets.randomSeed.toString('base64'),
  devices: (server.ports ?? [])
    .filter((p) => p.tag !== null)
    .map((p) => ({ type: 'nic', bus: 'none', address: 'none', mac: p.mac, tags: [p.tag] })),
  dedicated_cpus: [],
});

/** EC2's names under `/latest/meta-data/`, as cloud images of every distribution know them. */
export const ec2MetaData = (server: ServerRow): Record<string, string> => {
  const own = (server.ports ?? []).flatMap((p) => p.fixedIps);
  const address = own.find((ip) => ip.version === 4)?.address ?? '';
  return {
    'ami-id': `ami-${server.imageId.slice(0, 8)}`,
    'ami-launch-index': String(server.launchIndex),
    hostname: fqdn(server),
    'instance-action': 'none',
    'instance-id': `i-${server.id.replaceAll('-', '').slice(0, 8)}`,
    'instance-type': server.flavor.name,
    'local-hostname': fqdn(server),
    'local-ipv4': address,
    'placement/availability-zone': server.availabilityZone ?? '',
    'public-hostname': fqdn(server),
    'public-ipv4': '',
    'reservation-id': server.reservationId,
    'security-groups': '',
    ...(server.keyName && server.publicKey ? { 'public-keys/0/openssh-key': `${server.publicKey.trim()}\n` } : {}),
  };
};

/** Files of a config drive (volume label `config-2`), path to contents. */
export const configDriveFiles = (
  server: ServerRow,
  ports: readonly GuestPort[],
  secrets: GuestSecrets,
): Map<string, Buffer> => {
  const files = new Map<string, Buffer>();
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  for (const folder of [METADATA_VERSIONS.at(-1)!, 'latest']) {
    files.set(`openstack/${folder}/meta_data.json`, json(metaData(server, secrets)));
    files.set(`openstack/${folder}/network_data.json`, json(networkData(ports)));
    files.set(`openstack/${folder}/vendor_data.json`, json({}));
    files.set(`openstack/${folder}/vendor_data2.json`, json({}));
    if (secrets.userData) files.set(`openstack/${folder}/user_data`, secrets.userData);
  }
  for (const [i, { contents }] of secrets.files.entries()) files.set(`openstack/content/${contentName(i)}`, contents);
  files.set('ec2/latest/meta-data.json', json(ec2MetaData(server)));
  if (secrets.userData) files.set('ec2/latest/user-data', secrets.userData);
  return files;
};

export interface MetadataAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const text = (body: string): MetadataAnswer => ({ status: 200, contentType: 'text/plain; charset=UTF-8', body });
const bytes = (contents: Buffer): MetadataAnswer => ({
  status: 200,
  contentType: 'application/octet-stream',
  body: contents.toString('latin1'),
});
const json = (value: unknown): MetadataAnswer => ({
  status: 200,
  contentType: 'application/json',
  body: JSON.stringify(value),
});
const missing: MetadataAnswer = {
  status: 404,
  contentType: 'text/html; charset=UTF-8',
  body: '<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>',
};

/** Answers a request to 169.254.169.254 for one server. */
export const answerMetadata = (
  path: string,
  server: ServerRow,
  ports: readonly GuestPort[],
  secrets: GuestSecrets,
): MetadataAnswer => {
  const parts = (path.split('?')[0] ?? '').split('/').filter(Boolean);
  if (parts.length === 0) return text('1.0\n2009-04-04\nlatest\n');
  if (parts[0] === 'openstack') return openstackTree(parts.slice(1), server, ports, secrets);
  return ec2Tree(parts.slice(1), server, secrets);
};

const openstackTree = (
  [version, file, ...rest]: string[],
  server: ServerRow,
  ports: readonly GuestPort[],
  secrets: GuestSecrets,
): MetadataAnswer => {
  if (version === undefined) return text([...METADATA_VERSIONS, 'latest'].join('\n'));
  if (version === 'content') {
    const found = rest.length > 0 ? undefined : secrets.files.find((_, i) => contentName(i) === file);
    return found ? bytes(found.contents) : missing;
  }
  const known = version === 'latest' || (METADATA_VERSIONS as readonly string[]).includes(version);
  if (!known || rest.length > 0) return missing;
  const userData = secrets.userData;
  switch (file) {
    case undefined:
      return text(
        [
          'meta_data.json',
          ...(userData ? ['user_data'] : []),
          'vendor_data.json',
          'network_data.json',
          'vendor_data2.json',
        ].join('\n'),
      );
    case 'meta_data.json':
      return json(metaData(server, secrets));
    case 'network_data.json':
      return json(networkData(ports));
    case 'vendor_data.json':
    case 'vendor_data2.json':
      return json({});
    case 'user_data':
      return userData ? bytes(userData) : missing;
    default:
      return missing;
  }
};

const ec2Tree = ([kind, ...rest]: string[], server: ServerRow, secrets: GuestSecrets): MetadataAnswer => {
  if (kind === undefined) return text(secrets.userData ? 'meta-data/\nuser-data' : 'meta-data/');
  if (kind === 'user-data') return secrets.userData ? bytes(secrets.userData) : missing;
  if (kind !== 'meta-data') return missing;
  const values = ec2MetaData(server);
  const wanted = rest.join('/');
  if (wanted in values) return text(values[wanted]!);
  const prefix = wanted === '' ? '' : `${wanted}/`;
  if (prefix === 'public-keys/') return server.keyName ? text(`0=${server.keyName}`) : missing;
  const names = Object.keys(values)
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length).replace(/\/.*$/, '/'));
  return names.length > 0 ? text([...new Set(names)].join('\n')) : missing;
};
