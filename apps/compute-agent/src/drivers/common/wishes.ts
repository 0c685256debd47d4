import { type HardwareWish, wishesOf, wishTraits } from '@omnivisor/contracts';

/** What a driver serves of Nova's wishes, and which values of each. */
export type ServedWishes = Readonly<Partial<Record<HardwareWish, RegExp>>>;

/** Whatever is asked: the driver looks at the value itself. */
export const ANY = /^/;

/** Traits of hosts by which placement knows what they serve. */
export const traitsOf = (served: ServedWishes): string[] => wishTraits(Object.keys(served) as HardwareWish[]);

type Said = Readonly<Record<string, string>>;

/**
 * Refuses what is asked for and not served: a guest without it would not be what was bought.
 * @param refuse throws HypervisorError `unsupported` with these words
 * @returns takes canonical properties of an image, and extra specs of a flavor
 */
export const refusesAllBut =
  (served: ServedWishes, refuse: (what: string) => never) =>
  (properties: Said, extraSpecs: Said): void => {
    for (const { name, of, key, value } of wishesOf(properties, extraSpecs))
      if (served[name]?.test(value) !== true) refuse(`${of === 'flavor' ? 'the extra spec ' : ''}${key}=${value}`);
  };
