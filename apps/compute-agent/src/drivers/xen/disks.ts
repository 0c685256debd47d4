import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createGzip } from 'node:zlib';
import type { FlavorSnapshot, ServerId } from '@omnivisor/contracts';
import { writeConfigDrive } from '../common/config-drive.js';
import { type GuestSpec, HypervisorError, type ImageSource } from '../hypervisor-driver.js';
import type { Boot, Definition } from './definition.js';
import type { Guests } from './guests.js';
import { COPY_DISK, DISK_FROM, FORGET_IMAGE, FORMAT_DISK, TAKE_IMAGE, WRITE_FILE } from './scripts.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
/** Milliseconds: bytes may be many, and the way slow. */
export const BYTES_LIMIT = 4 * 3_600_000;
/** An image that was just brought can be swept away by a clock that jumps, but not for ever. */
const IMAGE_TRIES = 2;

export const refuseAborted = (signal: AbortSignal): void => {
  if (signal.aborted) throw new HypervisorError('fault', 'it was aborted');
};

const named = (kind: string, suffix: string): string => `${kind}-${randomUUID().slice(0, 8)}.${suffix}`;

/** Brings the bytes of an image to the host. */
const bring = async ({ host, root }: Guests, source: ImageSource, signal: AbortSignal): Promise<void> => {
  const { sha256, size } = await source.digest();
  const bytes = createReadStream(await source.path(signal), { highWaterMark: MIB });
  // Empty space is most of many disks, and need not go over the wire.
  const input = host.shell.isRemote ? bytes.pipe(createGzip({ level: 1 })) : bytes;
  bytes.once('error', (error) => input.destroy(error));
  const unpack = host.shell.isRemote ? 'gzip -dc' : 'cat';
  const args = [root, sha256, String(size), `.new-${randomUUID()}`, unpack];
  await host.call(TAKE_IMAGE, args, { input, signal, timeout: BYTES_LIMIT }).finally(() => bytes.destroy());
};

/** A new disk, or kernel, in the guest's folder with the bytes of a source; each has a name of its own. */
export const fileFrom = async (
  guests: Guests,
  id: ServerId,
  [kind, suffix]: readonly [string, 'raw' | 'kernel' | 'ramdisk'],
  source: ImageSource,
  size: number,
  signal: AbortSignal,
): Promise<string> => {
  if (source.format !== 'raw') throw new HypervisorError('unsupported', `Xen has no disks of format ${source.format}`);
  const image = await source.digest();
  if (!/^[0-9a-f]{64}$/.test(image.sha256)) throw new HypervisorError('fault', 'an image has no SHA-256');
  if (size > 0 && image.size > size) throw new HypervisorError('fault', 'the image is larger than the disk');
  const name = named(kind, suffix);
  const make = () => guests.call(id, DISK_FROM, [name, image.sha256, String(size)], { timeout: BYTES_LIMIT });
  const isMissing = async () => (await make()).trim() === 'missing';
  if (await isMissing())
    await guests.images.run(image.sha256, async () => {
      refuseAborted(signal);
      try {
        for (let tries = 0; await isMissing(); tries++) {
          refuseAborted(signal);
          if (tries === IMAGE_TRIES) throw new HypervisorError('fault', 'an image does not stay on the host');
          await bring(guests, source, signal);
        }
      } finally {
        // An image of the same bytes is brought again.
        if (source.isPrivate) await guests.host.call(FORGET_IMAGE, [guests.root, image.sha256]);
      }
    });
  refuseAborted(signal);
  return name;
};

/** None where pygrub reads it from the disk. */
export const commandLineOf = (directBoot: GuestSpec['directBoot']): string =>
  directBoot ? (directBoot.commandLine ?? 'root=/dev/xvda ro console=hvc0') : '';

export const bootFrom = async (
  guests: Guests,
  { mark: { serverId: id }, disks, directBoot }: GuestSpec,
  kind: string,
  signal: AbortSignal,
): Promise<Boot> => ({
  root: await fileFrom(guests, id, [kind, 'raw'], disks.root.source, disks.root.size * GIB, signal),
  kernel: directBoot && (await fileFrom(guests, id, [kind, 'kernel'], directBoot.kernel, 0, signal)),
  ramdisk: directBoot?.ramdisk ? await fileFrom(guests, id, [kind, 'ramdisk'], directBoot.ramdisk, 0, signal) : null,
  commandLine: commandLineOf(directBoot),
});

const formatted = async (guests: Guests, id: ServerId, kind: 'ephemeral' | 'swap', size: number): Promise<string> => {
  const name = named(kind, 'raw');
  await guests.call(id, FORMAT_DISK, [name, String(size), kind], { timeout: BYTES_LIMIT });
  return name;
};

export const configDriveOf = async (guests: Guests, { mark, configDrive }: GuestSpec): Promise<string | null> => {
  if (!configDrive) return null;
  const [name, bytes] = [named('config', 'iso'), writeConfigDrive(configDrive)];
  await guests.call(mark.serverId, WRITE_FILE, [name, String(bytes.length)], { input: bytes });
  return name;
};

/** All disks of a guest, made in its folder. */
export const makeDisks = async (
  guests: Guests,
  spec: GuestSpec,
  signal: AbortSignal,
): Promise<Pick<Definition, 'boot' | 'ephemeral' | 'swap' | 'config'>> => {
  const { serverId: id } = spec.mark;
  const { ephemeral, swap } = spec.disks;
  const boot = await bootFrom(guests, spec, 'root', signal);
  refuseAborted(signal);
  return {
    boot,
    ephemeral: !ephemeral
      ? null
      : ephemeral.source
        ? await fileFrom(guests, id, ['ephemeral', 'raw'], ephemeral.source, ephemeral.size * GIB, signal)
        : await formatted(guests, id, 'ephemeral', ephemeral.size * GIB),
    swap: swap > 0 ? await formatted(guests, id, 'swap', swap * MIB) : null,
    config: await configDriveOf(guests, spec),
  };
};

/** Its disks as another flavor has them, beside those that it has: copies of what is kept, and else new ones. */
export const resizedDisks = async (
  guests: Guests,
  { serverId: id, boot, ephemeral }: Definition,
  flavor: FlavorSnapshot,
  signal: AbortSignal,
): Promise<{ readonly root: string; readonly ephemeral: string | null; readonly swap: string | null }> => {
  const copy = async (kind: string, file: string, size: number) => {
    const name = named(kind, 'raw');
    await guests.call(id, COPY_DISK, [file, name, String(size)], { timeout: BYTES_LIMIT });
    refuseAborted(signal);
    return name;
  };
  const size = flavor.ephemeral * GIB;
  return {
    root: await copy('root', boot.root, flavor.disk * GIB),
    ephemeral: ephemeral
      ? await copy('ephemeral', ephemeral, size)
      : size > 0
        ? await formatted(guests, id, 'ephemeral', size)
        : null,
    swap: flavor.swap > 0 ? await formatted(guests, id, 'swap', flavor.swap * MIB) : null,
  };
};
