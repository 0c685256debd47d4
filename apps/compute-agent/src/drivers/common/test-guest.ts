import { createHash, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { bytes, FlavorId, gib, ImageId, mib, type ServerId } from '@omnivisor/contracts';
import {
  type DiskFormat,
  type GuestDisk,
  type GuestNic,
  type GuestSpec,
  HypervisorError,
  type ImageSource,
  type LocalDisks,
} from '../hypervisor-driver.js';

/** A file of this machine as the bytes of a disk. */
export const fileSource = (path: string, format: DiskFormat = 'raw'): ImageSource => ({
  format,
  path: async () => path,
  url: `http://127.0.0.1:1/nothing/${format}`,
  digest: async () => {
    const content = await readFile(path);
    return { sha256: createHash('sha256').update(content).digest('hex'), size: content.length };
  },
});

/** A root disk as long as its source, and nothing else. */
export const rootFrom = (source: ImageSource, size = gib(0)): LocalDisks => ({
  root: { source, size },
  ephemeral: null,
  swap: mib(0),
});

/** On a flat network of the provider's, without rules. */
export const flatNic = (mac: string, change: Partial<GuestNic> = {}): GuestNic => ({
  portId: randomUUID(),
  mac,
  mtu: 1500,
  model: null,
  attachment: { kind: 'provider', networkType: 'flat', physicalNetwork: 'physnet1', segmentationId: null },
  guard: null,
  ...change,
});

export const tapNic = (portId: string, tap: string, change: Partial<GuestNic> = {}): GuestNic => ({
  portId,
  mac: 'fa:16:3e:00:00:01',
  mtu: 1500,
  model: null,
  attachment: { kind: 'tap', tap, netns: null },
  guard: null,
  ...change,
});

/** A raw disk that outlives guests, as a path of the hypervisor's storage. */
export const fileDisk = (path: string, serial: string, change: Partial<GuestDisk> = {}): GuestDisk => ({
  diskId: randomUUID(),
  connection: { kind: 'file', path },
  format: 'raw',
  readOnly: false,
  bus: null,
  serial,
  bootIndex: null,
  ...change,
});

/** The same guest, but the bytes of its root cannot be had. */
export const withoutBytes = <S extends GuestSpec>(spec: S): S => {
  const fail = async () => {
    throw new HypervisorError('unavailable', 'the bytes cannot be had now');
  };
  const source: ImageSource = { ...spec.disks.root.source, path: fail, digest: fail };
  return { ...spec, disks: { ...spec.disks, root: { ...spec.disks.root, source } } };
};

/** A small guest for specs; `change` overrides members. */
export const testGuest = (serverId: ServerId, cloudId: string, change: Partial<GuestSpec> = {}): GuestSpec => ({
  mark: { cloudId, serverId, attempt: 1, build: 0 },
  name: `test-${serverId.slice(0, 8)}`,
  flavor: {
    id: FlavorId.parse('test.tiny'),
    name: 'test.tiny',
    vcpus: 1,
    memory: mib(16),
    disk: gib(0),
    ephemeral: gib(0),
    swap: mib(0),
    extraSpecs: {},
  },
  image: {
    id: ImageId.parse('6f1ee2f0-0c5c-4a8e-9d7b-111111111111'),
    name: 'test',
    diskFormat: 'raw',
    containerFormat: 'bare',
    size: bytes(512),
    minDisk: gib(0),
    minRam: mib(0),
    sha512: createHash('sha512').digest('hex'),
    properties: {},
  },
  disks: rootFrom(fileSource('/nonexistent')),
  directBoot: null,
  nics: [],
  configDrive: null,
  powerOn: true,
  ...change,
});
