import {
  cpuPolicyOf,
  describeImage,
  type FlavorSnapshot,
  forbidden,
  GiB,
  type ImageId,
  type ImageSnapshot,
  invalid,
  MiB,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';
import type { GatewayCore } from '../../../core/gateway-core.js';
import { settled } from '../../../core/settled.js';
import { type FlavorRow, flavorTable } from '../../flavor/flavor.projection.js';
import { type KeypairRow, keypairKey, keypairTable } from '../../keypair/keypair.projection.js';

const GIB = 1024 ** 3;
/** Bytes of a kernel and its ramdisk together: no flavor counts them, and their hosts keep them for each server. */
const MAX_KERNEL = 768 * 1024 * 1024;

/** A flavor that the caller may use. @throws DomainError `invalid`; `forbidden` for one that wants a volume */
export const flavorFor = async (
  call: Call,
  rows: RowReader,
  ref: string,
  unknown = (id: string) => `Flavor ${id} could not be found.`,
): Promise<FlavorSnapshot> => {
  // Old clients give the flavor's URL.
  const id = ref.split('/').at(-1) ?? ref;
  const row = await rows.get(flavorTable, id);
  if (!row || !(row.isPublic || call.isAdmin || row.access.includes(call.token.projectId ?? '')))
    throw invalid(unknown(id));
  if (row.disk === 0 && !call.can('os_compute_api:servers:create:zero_disk_flavor'))
    throw forbidden('Only volume-backed servers are allowed for flavors with zero disk.');
  return snapshotOf(row);
};

/** A flavor as a server keeps it. */
export const snapshotOf = (row: FlavorRow): FlavorSnapshot => ({
  id: row.id as FlavorSnapshot['id'],
  name: row.name,
  vcpus: row.vcpus,
  memory: MiB.parse(row.ram),
  disk: GiB.parse(row.disk),
  ephemeral: GiB.parse(row.ephemeral),
  swap: MiB.parse(row.swap),
  extraSpecs: { ...row.extraSpecs },
});

type UsableImage = NonNullable<Awaited<ReturnType<typeof usableImage>>>;

/** An image that the caller may use; null when there is none. */
export const usableImage = async (core: GatewayCore, call: Call, imageId: string) => {
  const { token, isAdmin } = call;
  const wanted = { imageId: imageId as ImageId, projectId: token.projectId, isAdmin };
  return (await core.bus.request(describeImage, wanted)).image;
};

/** @throws DomainError `invalid` for a flavor with a disk that is too small for the image, as its bytes or as its disk */
export const assertDiskFits = (
  flavor: Pick<FlavorSnapshot, 'disk'>,
  image: Pick<ImageSnapshot, 'size' | 'virtualSize' | 'minDisk'>,
): void => {
  if (flavor.disk === 0) return;
  const disk = flavor.disk * GIB;
  const size = Math.max(image.size, image.virtualSize ?? 0);
  if (size > disk)
    throw invalid(
      `Flavor's disk is too small for requested image. Flavor disk is ${disk} bytes, image is ${size} bytes.`,
    );
  if (flavor.disk < image.minDisk)
    throw invalid(
      `Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is ${disk} bytes, minimum size is ${image.minDisk * GIB} bytes.`,
    );
};

/**
 * The image of a server with this flavor.
 * @throws DomainError `invalid` when the caller cannot use it, or it does not fit
 */
export const imageFor = async (
  core: GatewayCore,
  call: Call,
  imageId: string,
  flavor: FlavorSnapshot,
  unknown = 'Can not find requested image',
): Promise<ImageSnapshot> => {
  const image = await usableImage(core, call, imageId);
  if (!image) throw invalid(unknown);
  if (image.status !== 'active') throw invalid(`Image ${imageId} is not active.`);
  if (flavor.memory < image.minRam) throw invalid("Flavor's memory is too small for requested image.");
  assertDiskFits(flavor, image);
  const { conflict } = cpuPolicyOf(flavor, image);
  if (conflict !== null) throw invalid(conflict);
  return imageSnapshot(core, call, image, unknown);
};

/**
 * An image as a server keeps it, with the kernel and ramdisk that its properties name.
 * @throws DomainError `invalid` when the caller cannot use those, or they are too large
 */
export const imageSnapshot = async (
  core: GatewayCore,
  call: Call,
  image: UsableImage,
  unknown: string,
): Promise<ImageSnapshot> => {
  const { status: _s, visibility: _v, owner: _o, ...snapshot } = image;
  const beside = async (format: 'aki' | 'ari', property: string) => {
    const id = image.properties[property];
    if (!id) return null;
    const found = await usableImage(core, call, id);
    if (!found) throw invalid(unknown);
    if (found.status !== 'active') throw invalid(`Image ${id} is not active.`);
    if (found.diskFormat !== format)
      throw invalid(`Image ${id} is not of disk format ${format}, as ${property} needs.`);
    const { name, diskFormat, containerFormat, size, minDisk, minRam, sha512 } = found;
    return { id: found.id, name, diskFormat, containerFormat, size, minDisk, minRam, sha512, properties: {} };
  };
  const [kernel, ramdisk] = await settled([beside('aki', 'kernel_id'), beside('ari', 'ramdisk_id')]);
  const size = (kernel?.size ?? 0) + (ramdisk?.size ?? 0);
  if (size > MAX_KERNEL)
    throw invalid(
      `The kernel and ramdisk of image ${image.id} are too large: ${size} bytes, at most ${MAX_KERNEL} are allowed.`,
    );
  return { ...snapshot, ...(kernel ? { kernel } : {}), ...(kernel && ramdisk ? { ramdisk } : {}) };
};

/** @throws DomainError `invalid` */
export const keypairOf = async (rows: RowReader, userId: string, name: string): Promise<KeypairRow> => {
  const row = await rows.get(keypairTable, keypairKey(userId, name));
  if (!row) throw invalid('Invalid key_name provided.');
  return row;
};
