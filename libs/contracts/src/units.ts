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
