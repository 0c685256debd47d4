/** Traits of our own for what a driver's optional members offer; the standard ones come from os-traits. */
export const featureTraits = {
  pausing: 'CUSTOM_OMNIVISOR_PAUSE',
  consoleLog: 'CUSTOM_OMNIVISOR_CONSOLE_LOG',
  consoles: 'CUSTOM_OMNIVISOR_CONSOLE',
} as const;
export type Feature = keyof typeof featureTraits;
