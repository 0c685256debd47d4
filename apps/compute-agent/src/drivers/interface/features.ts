import { type Feature, features } from '@omnivisor/contracts';
import type { HypervisorDriver } from '../hypervisor-driver.js';

/** What a driver supports, told from the members it has. */
export const featuresOf = (driver: HypervisorDriver): Feature[] =>
  (Object.keys(features) as Feature[]).filter((feature) => {
    const [name, kind] = feature.split('.') as [keyof HypervisorDriver, string | undefined];
    const member = driver[name] as { readonly kinds?: ReadonlySet<string> } | undefined;
    return member !== undefined && (kind === undefined || member.kinds?.has(kind) === true);
  });
