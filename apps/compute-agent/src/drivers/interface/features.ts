import { type Feature, features } from '@omnivisor/contracts';
import type { HypervisorDriver } from '../hypervisor-driver.js';
import { HypervisorError } from './errors.js';

/** @throws HypervisorError `unsupported` when the driver lacks the member */
export const memberOf = <M extends keyof HypervisorDriver>(
  driver: HypervisorDriver,
  name: M,
): NonNullable<HypervisorDriver[M]> => {
  const present = driver[name];
  if (!present) throw new HypervisorError('unsupported', `${driver.backend} has no ${name}`);
  return present;
};

/** What a driver supports, told from the members it has. */
export const featuresOf = (driver: HypervisorDriver): Feature[] =>
  (Object.keys(features) as Feature[]).filter((feature) => {
    const [name, kind] = feature.split('.') as [keyof HypervisorDriver, string | undefined];
    const member = driver[name] as { readonly kinds?: ReadonlySet<string> } | undefined;
    return member !== undefined && (kind === undefined || member.kinds?.has(kind) === true);
  });
