import { z } from 'zod';

/** Units have types: a `GiB` given for a `MiB` does not compile. */
export const MiB = z.number().int().nonnegative().brand<'MiB'>();
export type MiB = z.infer<typeof MiB>;
export const GiB = z.number().int().nonnegative().brand<'GiB'>();
export type GiB = z.infer<typeof GiB>;
export const Bytes = z.number().int().nonnegative().brand<'Bytes'>();
export type Bytes = z.infer<typeof Bytes>;
export const Milliseconds = z.number().nonnegative().brand<'Milliseconds'>();
export type Milliseconds = z.infer<typeof Milliseconds>;
/** A moment in UTC, RFC 3339 with milliseconds: `2026-01-31T12:00:00.000Z`. Sorts as text. */
export const Instant = z.iso.datetime({ precision: 3 }).brand<'Instant'>();
export type Instant = z.infer<typeof Instant>;

export const mib = (n: number) => n as MiB;
export const gib = (n: number) => n as GiB;
export const bytes = (n: number) => n as Bytes;
export const ms = (n: number) => n as Milliseconds;
export const seconds = (n: number) => (n * 1000) as Milliseconds;
/** The instant that lies `duration` after `at`. */
export const after = (at: Instant, duration: Milliseconds): Instant =>
  new Date(Date.parse(at) + duration).toISOString() as Instant;

/**
 * How long to wait after so many failures in a row: twice as long each time, between `first` and `longest`, and spread
 * so that those who failed together do not try again together.
 * @param random in [0, 1)
 */
export const backoff = (
  failures: number,
  random: number,
  { first = ms(200), longest = ms(5_000) }: { readonly first?: Milliseconds; readonly longest?: Milliseconds } = {},
): Milliseconds => ms(Math.min(longest, first * 2 ** Math.min(failures, 30)) * (0.5 + random));
