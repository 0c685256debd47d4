import { type AdoptedGuest, type GiB, gib } from '@omnivisor/contracts';
import type { Server } from './server.js';

const GIB = 1024 ** 3;

/** The disk that a guest starts from. */
export const firstDiskOf = ({ disks }: Pick<AdoptedGuest, 'disks'>): GiB => gib(Math.ceil((disks[0]?.size ?? 0) / GIB));

/** The guest that a server was made of, as long as nothing was made of an image in its place. */
export const guestInPlace = ({ adoption, image }: Pick<Server, 'adoption' | 'image'>): AdoptedGuest | undefined =>
  image.sha512 === '' ? adoption : undefined;
