import { gib, mib, ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { tapNic, testGuest } from '../../common/test-guest.js';
import type { GuestDisk, GuestSpec } from '../../hypervisor-driver.js';
import type { GuestDefinition } from '../definition.js';
import { devicesFor } from '../devices.js';
import { guestCpu } from '../guest-cpu.js';
import { withNics } from '../nic-plan.js';
import { sizeOf } from '../sizes.js';
import { guestFromOffer, offerOf } from './offer.js';

/** What `JSON.parse` gives: a hostile host is not bound to a type. */
type Anything = ReturnType<typeof JSON.parse>;

const machines = {
  pc: 'pc-i440fx-7.2',
  q35: 'pc-q35-7.2',
  all: new Set(['pc-i440fx-7.2', 'pc-i440fx-6.0', 'pc-q35-7.2']),
};
const id = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const spec: GuestSpec = testGuest(id, 'cloud', {
  nics: [tapNic('port-1', 'tap-here')],
  configDrive: new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]),
});
const volume: GuestDisk = {
  diskId: 'volume-1',
  connection: { kind: 'file', path: '/here/volume-1' },
  format: 'raw',
  readOnly: false,
  bus: null,
  serial: 'volume-1',
  bootIndex: null,
};

/** The guest on its source, with places of that host. */
const source = (): GuestDefinition =>
  withNics(
    {
      ...devicesFor({ ...spec, image: { ...spec.image, properties: { hw_machine_type: 'pc-i440fx-6.0' } } }, machines),
      ...sizeOf(spec),
      mark: spec.mark,
      name: 'there',
      phase: 'spawned',
      change: null,
      suspended: false,
      disks: [
        {
          name: 'root',
          file: 'disks/disk.qcow2',
          format: 'qcow2',
          base: { file: 'disks/base.img', format: 'qcow2' },
          size: 1 << 30,
          serial: `root-${id.slice(0, 13)}`,
          slot: 1,
        },
      ],
      attached: [{ ...volume, connection: { kind: 'file', path: '/there/volume-1' }, bus: 'virtio', slot: 5 }],
      cdroms: [{ file: 'disks/config.iso', boot: false }],
      nics: [],
      directBoot: null,
      rescue: null,
      before: null,
      adopted: null,
      shared: false,
      wishes: { properties: {}, extraSpecs: {} },
    },
    [tapNic('port-1', 'tap-there', { attachment: { kind: 'tap', tap: 'tap-there', netns: 'there' } })],
  );

const cpu = (accel: 'kvm' | 'tcg') => guestCpu({ accel, cpuModel: 'max' }, { vendor: '', flags: [] });
const take = (
  change: (offer: Anything) => unknown = (offer) => offer,
  asked: GuestSpec = spec,
  here = cpu('tcg'),
  { disks = 'copied', storage = null }: { disks?: 'copied' | 'shared' | 'auto'; storage?: string | null } = {},
) =>
  guestFromOffer(
    asked,
    JSON.stringify(change(JSON.parse(offerOf(source(), cpu('tcg'), null)))),
    { disks, attached: [volume] },
    machines,
    { cpu: here, storage },
  );

describe('the offer of a source', () => {
  it('gives the guest the hardware it has, in places of this host', () => {
    const guest = take();
    expect(guest).toMatchObject({ machine: 'pc-i440fx-6.0', phase: 'incoming', mark: spec.mark });
    expect(guest.disks).toMatchObject([{ file: 'disks/disk.qcow2', base: null, size: 1 << 30, slot: 1 }]);
    expect(guest.attached).toMatchObject([{ connection: { path: '/here/volume-1' }, bus: 'virtio', slot: 5 }]);
    expect(guest.nics).toMatchObject([{ tap: 'tap-here', netns: null, slot: source().nics[0]!.slot }]);
    expect(offerOf(source(), cpu('tcg'), null)).not.toContain('there');
  });

  it('leaves disks where they are only when both hosts have what they lie on', () => {
    const from = (theirs: string | undefined, how: Parameters<typeof take>[3]) =>
      take((offer) => ({ ...offer, storage: theirs }), spec, cpu('tcg'), how).shared;
    expect(from('nfs', { disks: 'auto', storage: 'nfs' })).toBe(true);
    expect(from('nfs', { disks: 'auto', storage: 'other' })).toBe(false);
    expect(from(undefined, { disks: 'auto', storage: 'nfs' })).toBe(false);
    expect(from(undefined, { disks: 'auto' })).toBe(false);
    expect(from('nfs', { disks: 'copied', storage: 'nfs' })).toBe(false);
    expect(from(undefined, { disks: 'shared' })).toBe(true);
  });

  it.each<[string, (offer: Anything) => unknown]>([
    ['no JSON of ours', () => 'nothing'],
    ['a member too many', (offer) => ({ ...offer, disks: offer.disks.map((d: object) => ({ ...d })), path: '/etc' })],
    ['more memory', (offer) => ({ ...offer, size: { ...offer.size, memoryMib: 1 << 20 } })],
    ['more vCPUs', (offer) => ({ ...offer, size: { ...offer.size, vcpus: 64 } })],
    ['another firmware', (offer) => ({ ...offer, hardware: { ...offer.hardware, firmware: 'uefi' } })],
    [
      'a screen with options',
      (offer) => ({ ...offer, hardware: { ...offer.hardware, video: 'VGA,romfile=/etc/shadow' } }),
    ],
    ['a controller with options', (offer) => ({ ...offer, hardware: { ...offer.hardware, scsiController: 'x,y=z' } })],
    ['a port that is not its own', (offer) => ({ ...offer, nics: [{ portId: 'port-2', slot: 4 }] })],
    ['a disk that is not its own', (offer) => ({ ...offer, attached: [{ ...offer.attached[0], diskId: 'volume-2' }] })],
    ['no config drive', (offer) => ({ ...offer, cdroms: [] })],
    ['no disk', (offer) => ({ ...offer, disks: [] })],
    [
      'a disk too many',
      (offer) => ({ ...offer, disks: [...offer.disks, { ...offer.disks[0], name: 'swap', slot: 2 }] }),
    ],
    ['its disk twice', (offer) => ({ ...offer, disks: [offer.disks[0], offer.disks[0]] })],
    ['the serial number of another', (offer) => ({ ...offer, disks: [{ ...offer.disks[0], serial: 'root-1' }] })],
    ['a disk to be rescued with', (offer) => ({ ...offer, disks: [{ ...offer.disks[0], name: 'rescue' }] })],
  ])('is refused with %s', (_what, change) => {
    expect(() => take(change)).toThrow(expect.objectContaining({ code: 'fault' }));
  });

  it.each([1 << 29, 2 ** 31])('is refused with a disk of %i bytes where the flavor has another size', (size) => {
    const sized = { ...spec, disks: { ...spec.disks, root: { ...spec.disks.root, size: gib(1) } } };
    expect(take(undefined, sized).disks).toHaveLength(1);
    const other = (offer: Anything) => ({ ...offer, disks: [{ ...offer.disks[0], size }] });
    expect(() => take(other, sized)).toThrow(expect.objectContaining({ code: 'fault' }));
  });

  it('is refused with a machine type that is not here', () => {
    const other = (offer: Anything) => ({ ...offer, hardware: { ...offer.hardware, machine: 'pc-i440fx-9.9' } });
    expect(() => take(other)).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });

  it('is refused with a guest whose CPU is not here, or is not named', () => {
    expect(() => take(undefined, spec, cpu('kvm'))).toThrow(expect.objectContaining({ code: 'unsupported' }));
    const silent = ({ cpu: _, ...offer }: Anything) => offer;
    expect(() => take(silent)).toThrow(expect.objectContaining({ code: 'fault' }));
  });

  it('is refused for a server of another size', () => {
    const asked = { ...spec, flavor: { ...spec.flavor, memory: mib(32) } };
    expect(() => take(undefined, asked)).toThrow(expect.objectContaining({ code: 'fault' }));
  });
});
