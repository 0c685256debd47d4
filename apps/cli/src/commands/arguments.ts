import { InvalidArgumentError } from 'commander';

/** A whole number of an option. */
export const count = (value: string): number => {
  if (!/^\d{1,15}$/.test(value)) throw new InvalidArgumentError('must be a whole number.');
  return Number(value);
};
