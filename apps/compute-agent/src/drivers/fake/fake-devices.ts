import { Readable } from 'node:stream';
import { bytes } from '@omnivisor/contracts';
import {
  type DiskGrowing,
  type Disks,
  type GuestDisk,
  HypervisorError,
  type Nics,
  type Snapshots,
} from '../hypervisor-driver.js';
import { fakeDiskImage } from './fake-disk-image.js';
import { nicsFrom } from './fake-guest.js';
import { type FakeHost, isDiskBus } from './fake-host.js';

const GIB = 1024 ** 3;

export const snapshotsOf = (host: FakeHost): Snapshots => ({
  formats: ['qcow2'],
  exportDisk: (id, disk, format, signal) =>
    host.onGuest(
      id,
      'snapshot',
      (guest) => {
        if (format !== 'qcow2') throw new HypervisorError('unsupported', `disks are not exported as ${format} here`);
        const { root, rootGib, ephemeralGib } = guest.disks;
        if (disk === 'ephemeral' && ephemeralGib === 0)
          throw new HypervisorError('unsupported', 'the guest has no ephemeral disk');
        const size = Math.max(1, disk === 'root' ? rootGib : ephemeralGib) * GIB;
        return {
          format: 'qcow2' as const,
          virtualSize: bytes(size),
          quiesced: guest.power === 'running' && guest.hasAgent,
          stream: Readable.from([fakeDiskImage(size, root)]),
        };
      },
      signal,
    ),
});

/** Key of a disk among the machine's volumes. */
export const placeOf = ({ connection }: GuestDisk): string =>
  connection.kind === 'nbd' ? `${connection.socket}#${connection.exportName}` : connection.path;

export const disksOf = (host: FakeHost): Disks => ({
  attach: (id, disk) =>
    host.onGuest(id, 'attach', (guest) => {
      if (guest.attached.some(({ diskId }) => diskId === disk.diskId)) return;
      if (disk.bus !== null && !isDiskBus(disk.bus))
        throw new HypervisorError('unsupported', `this host cannot serve a disk on ${disk.bus}`);
      if (!host.machine.volumes.has(placeOf(disk))) throw new HypervisorError('fault', 'the disk is not there');
      host.machine.change(id, { attached: [...guest.attached, disk] });
    }),
  detach: (id, diskId) =>
    host.onGuest(id, 'detach', (guest) =>
      host.machine.change(id, { attached: guest.attached.filter((disk) => disk.diskId !== diskId) }),
    ),
});

export const diskGrowingOf = (host: FakeHost): DiskGrowing => ({
  grow: (id, diskId, size) =>
    host.onGuest(id, 'attach', (guest) => {
      const disk = guest.attached.find((known) => known.diskId === diskId);
      const volume = disk && host.machine.volumes.get(placeOf(disk));
      if (!disk || !volume) throw new HypervisorError('fault', 'the disk is not attached');
      if (size < volume.size) throw new HypervisorError('unsupported', 'a disk cannot be made smaller');
      host.machine.volumes.set(placeOf(disk), { ...volume, size });
    }),
});

export const nicsOf = (host: FakeHost): Nics => ({
  attach: (id, nic) =>
    host.onGuest(id, 'attach', (guest) => {
      const [made] = nicsFrom([nic]);
      const isThere = guest.nics.some(({ portId }) => portId === nic.portId);
      const nics = guest.nics.map((has) => (has.portId === nic.portId ? made! : has));
      host.machine.change(id, { nics: isThere ? nics : [...nics, made!] });
    }),
  cutOff: (id, portId) =>
    host.onGuest(id, 'cutOff', (guest) => {
      const nics = guest.nics.map((nic) => (nic.portId === portId ? { ...nic, passes: false } : nic));
      host.machine.change(id, { nics });
    }),
  detach: (id, portId) =>
    host.onGuest(id, 'detach', (guest) =>
      host.machine.change(id, { nics: guest.nics.filter((nic) => nic.portId !== portId) }),
    ),
});
