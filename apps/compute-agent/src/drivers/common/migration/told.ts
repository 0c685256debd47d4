import type { z } from 'zod';
import { HypervisorError } from '../../hypervisor-driver.js';

/**
 * An offer or a ticket, as the other host has told it. Nothing of it is in the error: tickets hold secrets.
 * @throws HypervisorError `fault` with `refusal` when it is none
 */
export const told = <S extends z.ZodType>(schema: S, text: string, refusal: string): z.output<S> => {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = null;
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw new HypervisorError('fault', refusal, parsed.error.message);
  return parsed.data;
};

/** The same names, in whatever order. */
export const areSame = (offered: readonly string[], wanted: readonly string[]): boolean => {
  const all = [...wanted].sort();
  return offered.length === all.length && [...offered].sort().every((one, i) => one === all[i]);
};
