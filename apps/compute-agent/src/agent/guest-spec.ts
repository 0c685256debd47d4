import { canonicalProperties, DomainError, type hostBus, type ImageSnapshot } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { DirectBoot, GuestSpec } from '../drivers/hypervisor-driver.js';
import { imageSource } from '../images/image-source.js';
import type { Leave } from './leave.js';
import type { AgentPorts, ImageCache } from './ports.js';
import type { DesiredServer } from './reconcile.js';
import { NotAskedFor } from './session.js';

export type Boot = z.output<typeof hostBus.serverBoot.reply>;

/** What the control plane says of an image that cannot be had in any form, and of a snapshot that it does not take. */
const FINAL: ReadonlySet<string> = new Set(['notFound', 'unsupported', 'tooLarge', 'unsupportedMedia']);
/** Asking again will not mend it. */
export const isFinalAnswer = (error: unknown): boolean => error instanceof DomainError && FINAL.has(error.kind);

/** What the log gives for the work, once the image's bytes are here: they are asked for before anything is made. */
export const bytesOf = async (
  { images }: Pick<AgentPorts, 'images'>,
  image: ImageSnapshot,
  boot: () => Promise<Boot>,
  leave: Leave,
  isPrivate = false,
): Promise<NonNullable<Boot>> => {
  const given = await boot();
  if (!given) throw new NotAskedFor();
  leave.given();
  await images.path(image, given.imageUrl, leave.signal, isPrivate);
  return given;
};

const directBoot = (images: ImageCache, image: ImageSnapshot, { kernel, ramdisk }: NonNullable<Boot>): DirectBoot => ({
  kernel: imageSource(images, image.kernel!, kernel!),
  ramdisk: image.ramdisk && ramdisk ? imageSource(images, image.ramdisk, ramdisk) : null,
  commandLine: image.properties.os_command_line ?? null,
});

/** A guest with disks from this image, as the log wants it; without its network devices. @throws HypervisorError */
export const guestSpec = (
  { cloudId, images }: Pick<AgentPorts, 'cloudId' | 'images'>,
  { serverId, attempt, build, name, flavor, arrival }: DesiredServer,
  image: ImageSnapshot,
  given: NonNullable<Boot>,
): GuestSpec => {
  const files = given.configDrive && Object.entries(given.configDrive);
  const { ephemeral } = arrival ?? {};
  return {
    mark: { cloudId, serverId, attempt, build },
    name,
    flavor,
    image: { ...image, properties: canonicalProperties(image.properties) },
    disks: {
      root: {
        source: arrival ? imageSource(images, arrival.root, given, true) : imageSource(images, image, given),
        size: flavor.disk,
      },
      ephemeral:
        flavor.ephemeral > 0
          ? {
              size: flavor.ephemeral,
              source: ephemeral && given.ephemeral ? imageSource(images, ephemeral, given.ephemeral, true) : null,
            }
          : null,
      swap: flavor.swap,
    },
    directBoot: image.kernel && given.kernel ? directBoot(images, image, given) : null,
    powerOn: arrival?.powerOn ?? true,
    nics: [],
    configDrive: files && new Map(files.map(([path, text]) => [path, Buffer.from(text, 'base64')])),
  };
};
