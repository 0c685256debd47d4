import { z } from 'zod';

const text = z.string().max(1_024);

/** What a guest tells of itself: it is its owner's, and nothing of it is sure. What is not told is null or empty. */
export const GuestDetails = z.object({
  hostname: text.nullable(),
  operatingSystem: text.nullable(),
  addresses: z.array(text).max(4_096).readonly(),
  /** Services inside by which it tells; `answers` when the guest's side of one runs. */
  services: z
    .array(z.object({ name: text, answers: z.boolean() }))
    .max(256)
    .readonly(),
});
export type GuestDetails = z.infer<typeof GuestDetails>;
