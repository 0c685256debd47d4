import type { GuestDetails } from '@omnivisor/contracts';
import { z } from 'zod';

export const GuestView = z.object({
  guest: z.object({
    hostname: z.string().nullable(),
    operating_system: z.string().nullable().describe('As the guest names it, e.g. `Debian GNU/Linux 12 (bookworm)`.'),
    addresses: z.array(z.string()).describe('IP addresses that the guest says it has.'),
    services: z
      .array(z.object({ name: z.string(), answers: z.boolean() }))
      .describe("Services by which the guest tells, by its hypervisor's names; `answers`: its side of one runs."),
  }),
});

export const guestView = ({ operatingSystem, ...told }: GuestDetails): z.output<typeof GuestView> => ({
  guest: {
    hostname: told.hostname,
    operating_system: operatingSystem,
    addresses: [...told.addresses],
    services: told.services.map(({ name, answers }) => ({ name, answers })),
  },
});
