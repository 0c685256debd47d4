import { PassThrough, Writable } from 'node:stream';
import { mib } from '@omnivisor/contracts';
import {
  type ConsoleLog,
  type Consoles,
  type ConsoleTickets,
  type GuestAgent,
  type GuestIntegration,
  HypervisorError,
  type Statistics,
} from '../hypervisor-driver.js';
import { isOff } from './fake-guest.js';
import type { FakeHost } from './fake-host.js';

export const consoleLogOf = (host: FakeHost): ConsoleLog => ({
  tail: async (id, maxBytes) => {
    await host.machine.work('consoleLog');
    const text = Buffer.from(host.guest(id).console);
    return text.subarray(Math.max(0, text.length - maxBytes));
  },
});

/** The serial port gives back what is typed; the VNC server says its version and shows nothing. */
export const consolesOf = (host: FakeHost): Consoles => ({
  kinds: new Set(['vnc', 'serial']),
  open: async (id, kind) => {
    await host.machine.work('console');
    if (isOff(host.guest(id))) throw new HypervisorError('unavailable', 'the guest is off');
    const readable = new PassThrough();
    if (kind === 'vnc') readable.write('RFB 003.008\n');
    const writable = new Writable({
      write: (bytes: Buffer, _encoding, done) => {
        if (kind === 'serial') {
          host.machine.print(id, bytes.toString());
          readable.write(bytes);
        }
        done();
      },
    });
    const close = () => {
      writable.destroy();
      readable.end();
    };
    return { readable, writable, close };
  },
});

export const consoleTicketsOf = (host: FakeHost): ConsoleTickets => ({
  kinds: new Set(['rdp', 'mks']),
  open: async (id, kind) => {
    await host.machine.work('console');
    if (isOff(host.guest(id))) throw new HypervisorError('unavailable', 'the guest is off');
    const port = kind === 'rdp' ? 2179 : 902;
    return { kind, host: 'fake.invalid', port, accessPath: id, thumbprint: null };
  },
});

const NO_TRAFFIC = { bytes: 0, packets: 0, errors: 0, drops: 0 };
const SECTOR = 512;

export const statisticsOf = (host: FakeHost): Statistics => ({
  read: async (id) => {
    await host.machine.work('statistics');
    const guest = host.guest(id);
    if (guest.startedAt === null || (guest.power !== 'running' && guest.power !== 'paused'))
      throw new HypervisorError('fault', `a guest that is ${guest.power} counts nothing`);
    const uptime = Math.floor((Date.parse(host.machine.clock.now()) - Date.parse(guest.startedAt)) / 1000);
    const counters = (writes: number) => ({
      readBytes: 0,
      readRequests: 0,
      writeBytes: writes * SECTOR,
      writeRequests: writes,
      errors: 0,
    });
    return {
      uptime,
      // An idle guest takes a hundredth of a CPU.
      cpus: Array.from({ length: guest.vcpus }, () => ({ time: uptime * 10_000_000 })),
      memory: { maximum: mib(guest.memoryMib), used: mib(Math.floor(guest.memoryMib / 4)) },
      nics: guest.nics.map(({ portId, mac }) => ({ portId, mac, received: NO_TRAFFIC, sent: NO_TRAFFIC })),
      disks: [
        { disk: 'root', ...counters(guest.writes) },
        ...(guest.disks.ephemeralGib > 0 ? [{ disk: 'ephemeral', ...counters(0) }] : []),
        ...(guest.disks.swapMib > 0 ? [{ disk: 'swap', ...counters(0) }] : []),
        ...guest.attached.map(({ diskId }) => ({ disk: diskId, ...counters(0) })),
      ],
    };
  },
});

/** A fake guest that runs tells its name by itself. */
export const guestIntegrationOf = (host: FakeHost): GuestIntegration => ({
  read: async (id) => {
    await host.machine.work('statistics');
    const guest = host.guest(id);
    if (guest.power !== 'running') throw new HypervisorError('fault', `a guest that is ${guest.power} tells nothing`);
    return { hostname: guest.name, operatingSystem: null, addresses: [], services: [{ name: 'fake', answers: true }] };
  },
});

/** Those whose image says `hw_qemu_guest_agent=yes` answer while they run; they know the user root only. */
export const guestAgentOf = (host: FakeHost): GuestAgent => {
  const ask = async (id: Parameters<GuestAgent['info']>[0]) => {
    await host.machine.work('guestAgent');
    const guest = host.guest(id);
    if (!guest.hasAgent) throw new HypervisorError('unsupported', 'the image of the guest has no guest agent');
    if (guest.power !== 'running') throw new HypervisorError('fault', `a guest that is ${guest.power} does not answer`);
    return guest;
  };
  return {
    info: async (id) => ({ version: 'fake', hostname: (await ask(id)).name, operatingSystem: null }),
    setPassword: async (id, user) => {
      await ask(id);
      if (user !== 'root') throw new HypervisorError('fault', 'the guest refused to set the password');
      host.machine.print(id, `fake guest: password of ${user} changed\n`);
    },
  };
};
