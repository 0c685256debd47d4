import type { ImageFormat } from '@omnivisor/contracts';

const GIB = 1024 ** 3;
const TIB = 1024 * GIB;

/** The largest disk a form can hold, in bytes, by its makers: what they refuse later is refused here early. */
const LARGEST: { readonly [F in ImageFormat]?: number } = {
  vhd: 2_040 * GIB,
  'vhd-fixed': 2_040 * GIB,
  vhdx: 64 * TIB,
  vmdk: 62 * TIB,
  'vmdk-sparse': 62 * TIB,
  ova: 62 * TIB,
};

const sizeText = (bytes: number): string => (bytes < 10 * TIB ? `${bytes / GIB} GiB` : `${bytes / TIB} TiB`);

/** Why a disk of this size cannot be in that form; null when it can. */
export const sizeProblem = (format: ImageFormat, virtualSize: number): string | null => {
  const largest = LARGEST[format];
  if (largest === undefined || virtualSize <= largest) return null;
  return `a disk of ${Math.ceil(virtualSize / GIB)} GiB does not fit into ${format.toUpperCase()}, which holds ${sizeText(largest)} at most`;
};
