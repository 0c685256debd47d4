import type { FlavorSnapshot } from '@omnivisor/contracts';

const sizeOf = ({ vcpus, memory, disk, ephemeral, swap }: FlavorSnapshot) => [vcpus, memory, disk, ephemeral, swap];

/** What tells a flavor from others, to be kept with a guest that is resized: whoever asks again means the same resize, or not. */
export const flavorText = (flavor: FlavorSnapshot): string =>
  JSON.stringify([...sizeOf(flavor), Object.entries(flavor.extraSpecs).sort()]);

/** Whether this was written of that flavor; older releases wrote its size only. */
export const isFlavorText = (text: string, flavor: FlavorSnapshot): boolean =>
  [flavorText(flavor), JSON.stringify(sizeOf(flavor))].includes(text);
