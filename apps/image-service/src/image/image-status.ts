import { conflict, type DomainError, invalid } from '@omnivisor/contracts';
import type { Image } from './image.js';

export const transition = (from: string, to: string): DomainError =>
  conflict(`Image status transition from ${from} to ${to} is not allowed`);

/** @throws DomainError `invalid` while nobody said what the bytes will be */
export const assertFormats = ({ attributes }: Image): void => {
  const missing = (['disk_format', 'container_format'] as const).filter(
    (n) => !attributes[n === 'disk_format' ? 'diskFormat' : 'containerFormat'],
  );
  if (missing.length > 0)
    throw invalid(
      `${missing.length === 1 ? 'Property' : 'Properties'} ${missing.join(', ')} must be set prior to saving data.`,
    );
};
