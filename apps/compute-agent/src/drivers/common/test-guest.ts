import { createHash } from 'node:crypto';
import { bytes, FlavorId, gib, ImageId, mib, type ServerId } from '@omnivisor/contracts';
import type { GuestSpec } from '../hypervisor-driver.js';

/** A small guest for specs; `change` overrides members. */
export const testGuest = (serverId: ServerId, cloudId: string, change: Partial<GuestSpec> = {}): GuestSpec => ({
  mark: { cloudId, serverId, attempt: 1 },
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
  imagePath: '/nonexistent',
  nics: [],
  configDrive: null,
  ...change,
});
