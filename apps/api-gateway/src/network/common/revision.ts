import { staleRevision } from './errors.js';

/** The tags of a resource are now these. */
export interface TaggedCommand {
  readonly type: 'tag';
  readonly tags: readonly string[];
  readonly ifRevision?: number | undefined;
}

/** @throws DomainError `stale` when the caller saw another revision */
export const checkRevision = (current: number, expected: number | undefined): void => {
  if (expected !== undefined && expected !== current) throw staleRevision(expected, current);
};

/** The changes that change something; null when none does. */
export const changesOf = <T extends object>(before: T, changes: Partial<T>): Partial<T> | null => {
  const real = Object.entries(changes).filter(
    ([key, value]) => value !== undefined && JSON.stringify(before[key as keyof T]) !== JSON.stringify(value),
  );
  return real.length === 0 ? null : (Object.fromEntries(real) as Partial<T>);
};

export const sameTags = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((tag) => b.includes(tag));
