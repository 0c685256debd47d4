import type { FlavorSnapshot, PowerState, ServerId } from '@omnivisor/contracts';
import {
  type CrashDumps,
  HypervisorError,
  type Pausing,
  type Rebuilding,
  type Rescuing,
  type Resizing,
  type Suspending,
} from '../hypervisor-driver.js';
import { type FakeGuest, isOff, NOTHING, nicsFrom } from './fake-guest.js';
import { type FakeHost, refuseHardware } from './fake-host.js';
import { diskDemand, type FakeOperation, guestFrom } from './fake-hypervisor.js';

const refuse = (operation: string, { power }: FakeGuest): never => {
  throw new HypervisorError('fault', `cannot ${operation} a guest that is ${power}`);
};

export const pausingOf = (host: FakeHost): Pausing => {
  const change = (id: ServerId, operation: FakeOperation, from: PowerState, to: PowerState) =>
    host.onGuest(id, operation, (guest) => {
      if (guest.power === to) return;
      if (guest.power !== from) refuse(operation, guest);
      host.machine.change(id, { power: to });
    });
  return {
    pause: (id) => change(id, 'pause', 'running', 'paused'),
    unpause: (id) => change(id, 'unpause', 'paused', 'running'),
  };
};

export const suspendingOf = (host: FakeHost): Suspending => ({
  suspend: (id) =>
    host.onGuest(id, 'suspend', (guest) => {
      if (guest.power === 'suspended') return;
      if (guest.power !== 'running' && guest.power !== 'paused') refuse('suspend', guest);
      host.machine.change(id, { power: 'suspended' });
    }),
  resume: (id, nics) =>
    host.onGuest(id, 'resume', (guest) => {
      if (guest.power === 'running') return;
      if (guest.power !== 'suspended') refuse('resume', guest);
      host.machine.change(id, { power: 'running', nics: nicsFrom(nics) });
    }),
});

export const rebuildingOf = (host: FakeHost): Rebuilding => ({
  rebuild: (spec, signal) =>
    host.onGuest(
      spec.mark.serverId,
      'rebuild',
      (guest) => {
        const { serverId: id, attempt, build } = spec.mark;
        if (guest.mark.attempt !== attempt || guest.mark.build > build)
          throw new HypervisorError('fault', `another attempt or build of server ${id} is on this host`);
        if (guest.mark.build === build) return;
        if (guest.stage !== 'settled')
          throw new HypervisorError('fault', `cannot rebuild a guest that is ${guest.stage}`);
        refuseHardware(spec);
        const next = guestFrom(spec);
        host.machine.begin(id, next);
        host.machine.complete({ ...next, attached: guest.attached, console: guest.console });
        if (spec.powerOn) host.machine.start(id);
      },
      signal,
    ),
});

export const rescuingOf = (host: FakeHost): Rescuing => ({
  rescue: (spec, signal) =>
    host.onGuest(
      spec.mark.serverId,
      'rescue',
      (guest) => {
        if (guest.stage === 'rescued') return;
        if (guest.stage !== 'settled')
          throw new HypervisorError('fault', `cannot rescue a guest that is ${guest.stage}`);
        host.machine.start(spec.mark.serverId, { stage: 'rescued', rescue: NOTHING, nics: nicsFrom(spec.nics) });
      },
      signal,
    ),
  unrescue: (id, nics) =>
    host.onGuest(id, 'unrescue', (guest) => {
      if (guest.stage !== 'rescued') return;
      host.machine.start(id, { stage: 'settled', rescue: null, nics: nicsFrom(nics) });
    }),
});

const resized = (
  guest: FakeGuest,
  flavor: FlavorSnapshot,
): Pick<FakeGuest, 'vcpus' | 'memoryMib' | 'diskGib' | 'disks'> => {
  const { rootGib, ephemeralGib } = guest.disks;
  if ((flavor.disk > 0 && flavor.disk < rootGib) || flavor.ephemeral < ephemeralGib)
    throw new HypervisorError('unsupported', 'a disk cannot be made smaller');
  const disks = {
    ...guest.disks,
    rootGib: Math.max(rootGib, flavor.disk),
    ephemeralGib: flavor.ephemeral,
    swapMib: flavor.swap,
  };
  return { vcpus: flavor.vcpus, memoryMib: flavor.memory, diskGib: diskDemand(disks), disks };
};

export const resizingOf = (host: FakeHost): Resizing => {
  const off = (operation: string, guest: FakeGuest) => {
    if (!isOff(guest)) refuse(operation, guest);
  };
  const nextOf = (guest: FakeGuest, flavor: FlavorSnapshot) =>
    resized(guest.before ? { ...guest, ...guest.before } : guest, flavor);
  return {
    checkResize: (id, flavor) =>
      host.onGuest(id, 'checkResize', (guest) => host.machine.refuseBeyond(id, nextOf(guest, flavor))),
    resize: (id, flavor, signal) =>
      host.onGuest(
        id,
        'resize',
        (guest) => {
          const next = nextOf(guest, flavor);
          if (guest.before) {
            if (guest.vcpus === next.vcpus && guest.memoryMib === next.memoryMib && guest.diskGib === next.diskGib)
              return;
            throw new HypervisorError('fault', 'another resize of the guest is not settled');
          }
          off('resize', guest);
          host.machine.begin(id, next);
          const { vcpus, memoryMib, diskGib, disks } = guest;
          host.machine.complete({ ...guest, ...next, stage: 'resized', before: { vcpus, memoryMib, diskGib, disks } });
        },
        signal,
      ),
    confirmResize: (id) =>
      host.onGuest(id, 'resize', (guest) => {
        if (guest.before) host.machine.change(id, { stage: 'settled', before: null });
      }),
    revertResize: (id) =>
      host.onGuest(id, 'resize', (guest) => {
        if (!guest.before) return;
        off('revert', guest);
        host.machine.change(id, { ...guest.before, stage: 'settled', before: null });
      }),
  };
};

export const crashDumpsOf = (host: FakeHost): CrashDumps => ({
  trigger: (id) =>
    host.onGuest(id, 'crashDump', (guest) => {
      if (guest.power !== 'running') refuse('interrupt', guest);
      host.machine.change(id, { memory: 'N' });
    }),
});
