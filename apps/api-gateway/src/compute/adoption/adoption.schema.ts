import { AdoptedGuest } from '@omnivisor/contracts';
import { z } from 'zod';
import * as t from '../common/parameters.js';

const mac = z
  .string()
  .regex(/^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$/, 'is not a MAC address')
  .transform((text) => text.toLowerCase());

export const AdoptionPort = z.strictObject({
  mac: mac.describe('MAC address of an interface of the guest.'),
  network: t.uuid.describe('Network that the interface is on.'),
  fixed_ip: z.string().min(2).max(45).optional().describe('Address that the guest has there; one is chosen without.'),
});

export const AdoptionWanted = z.strictObject({
  guest: z.string().min(1).max(255).describe('`native_id` of the guest.'),
  project_id: z.string().min(1).max(64).describe('Project that the server will belong to.'),
  flavor: z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe(
      'Flavor with the vCPUs and memory of the guest and room for its first disk; the smallest one that has them without.',
    ),
  name: z.string().min(1).max(255).optional().describe('Name of the server; that of the guest without.'),
  ports: z.array(AdoptionPort).max(64).default([]).describe('Interfaces that become ports; others are left alone.'),
});
export type AdoptionWanted = z.output<typeof AdoptionWanted>;
export const AdoptionBody = z.strictObject({ adoption: AdoptionWanted });

/** What a host may say of its guests: it is not trusted. */
export const ForeignGuests = z.array(AdoptedGuest).max(10_000);

const GuestView = z.object({
  native_id: z.string().describe('Names it on its hypervisor.'),
  name: z.string(),
  power_state: AdoptedGuest.shape.power,
  vcpus: z.number().int(),
  memory_mb: z.number().int(),
  disks: z.array(z.object({ name: z.string(), size: z.number().describe('Bytes.') })),
  nics: z.array(z.object({ mac: z.string(), network: z.string().nullable() })),
});
export const GuestsView = z.object({ guests: z.array(GuestView) });
export const AdoptedView = z.object({ server: z.object({ id: t.uuid }) });

export const guestView = ({ nativeId, power, memory, ...guest }: AdoptedGuest): z.output<typeof GuestView> => ({
  native_id: nativeId,
  ...guest,
  power_state: power,
  memory_mb: memory,
});
