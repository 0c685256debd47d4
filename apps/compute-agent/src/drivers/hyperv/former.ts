import { z } from 'zod';

const OnOff = z.enum(['On', 'Off']);

/** An extended ACL as it was, without what it left to be anything. */
export const FormerAcl = z.object({
  Direction: z.enum(['Inbound', 'Outbound']),
  Action: z.enum(['Allow', 'Deny']),
  Weight: z.number(),
  LocalIPAddress: z.string().exactOptional(),
  RemoteIPAddress: z.string().exactOptional(),
  LocalPort: z.string().exactOptional(),
  RemotePort: z.string().exactOptional(),
  Protocol: z.string().exactOptional(),
  Stateful: z.boolean().exactOptional(),
  IdleSessionTimeout: z.number().exactOptional(),
  IsolationID: z.number().exactOptional(),
});

/** How a network adapter was connected and guarded. */
export const Wiring = z.object({
  switch: z.string().nullable(),
  macSpoofing: OnOff,
  dhcpGuard: OnOff,
  routerGuard: OnOff,
  vlan: z.discriminatedUnion('mode', [
    z.object({ mode: z.literal('Untagged') }),
    z.object({ mode: z.literal('Access'), id: z.number() }),
    z.object({ mode: z.literal('Trunk'), native: z.number(), allowed: z.string() }),
  ]),
  acls: z.array(FormerAcl),
});
export type Wiring = z.output<typeof Wiring>;

/** What adoption changes of a machine, as it was before: it is given back so. */
export const Former = z.object({
  metering: z.boolean(),
  checkpointType: z.enum(['Disabled', 'Production', 'ProductionOnly', 'Standard']),
  /** Pipe of its first serial port. */
  serialPort: z.string().nullable(),
  /** By MAC address, 12 hexadecimal digits. */
  adapters: z.record(z.string(), Wiring),
});
export type Former = z.output<typeof Former>;
