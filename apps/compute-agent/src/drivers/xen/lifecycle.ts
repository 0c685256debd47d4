import { type FlavorSnapshot } from '@omnivisor/contracts';
import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import type { Definition, DomainType, Nic } from './definition.js';
import { BYTES_LIMIT, bootFrom, configDriveOf, makeDisks, refuseAborted } from './disks.js';
import { type Guest, type Guests, isOn } from './guests.js';
import { refuseWishes } from './hardware.js';
import { startGuest, stopGuest } from './power.js';
import { COPY_DISK, SIZE_OF } from './scripts.js';
import { devicesFor } from './xl-config.js';

const GIB = 1024 ** 3;

const refuse = (message: string): never => {
  throw new HypervisorError('fault', message);
};

/** What was decided of a spec without asking the host. */
export interface Plan {
  readonly spec: GuestSpec;
  readonly type: DomainType;
  readonly nics: readonly Nic[];
}

/** Disks anew, identity, interfaces and attached disks kept. What is made before the definition names it can be thrown away. */
export const rebuild = async (guests: Guests, { spec, type, nics }: Plan, signal: AbortSignal): Promise<void> => {
  const guest = await guests.get(spec.mark.serverId);
  const { definition } = guest;
  if (definition.attempt !== spec.mark.attempt) refuse('another attempt of the server is on this host');
  if (definition.build > spec.mark.build) refuse('the guest was rebuilt later than this');
  if (definition.build === spec.mark.build) return;
  if (definition.stage !== 'settled') refuse(`a guest that is ${definition.stage} cannot be rebuilt`);
  const wanted = devicesFor(spec.disks);
  // An adopted guest has its disks where it always had them.
  if (definition.disks.some(({ device }) => wanted.includes(device)))
    throw new HypervisorError('unsupported', 'a disk of the guest has the place of one that the flavor gives');
  let next = definition;
  if (definition.rebuilding !== spec.mark.build) {
    await stopGuest(guests, spec.mark.serverId);
    try {
      refuseAborted(signal);
      const made = await makeDisks(guests, spec, signal);
      refuseAborted(signal);
      // From here on it is the new guest.
      const size = { ...definition.size, disk: spec.disks.root.size };
      next = await guests.keep({ ...definition, ...made, size, type, nics: [...nics], rebuilding: spec.mark.build });
    } catch (error) {
      await guests.keep(definition);
      throw error;
    }
  }
  const whole: Definition = { ...next, build: spec.mark.build, rebuilding: null };
  if (spec.powerOn && !isOn(await guests.get(spec.mark.serverId))) await startGuest(guests, whole, whole);
  else await guests.keep(whole);
};

export const rescue = async (guests: Guests, { spec, type }: Plan, signal: AbortSignal): Promise<void> => {
  const guest = await guests.get(spec.mark.serverId);
  const { definition } = guest;
  if (definition.stage === 'rescued') {
    if (!isOn(guest)) await startGuest(guests, definition);
    return;
  }
  if (definition.stage !== 'settled') refuse(`a guest that is ${definition.stage} cannot be rescued`);
  // Its own second disk may have the place that its root gets.
  if (definition.adopted) throw new HypervisorError('unsupported', 'an adopted guest cannot be rescued');
  await stopGuest(guests, spec.mark.serverId);
  try {
    refuseAborted(signal);
    const boot = await bootFrom(guests, spec, 'rescue', signal);
    const config = await configDriveOf(guests, spec);
    refuseAborted(signal);
    const rescued = await guests.keep({ ...definition, stage: 'rescued', rescue: { type, boot, config } });
    await startGuest(guests, rescued);
  } catch (error) {
    await stopGuest(guests, spec.mark.serverId);
    await guests.keep(definition);
    throw error;
  }
};

export const unrescue = async (guests: Guests, { definition }: Guest, nics: readonly Nic[]): Promise<void> => {
  if (definition.stage !== 'rescued') return;
  await stopGuest(guests, definition.serverId);
  const own: Definition = { ...definition, stage: 'settled', rescue: null, nics: [...nics] };
  // It is rescued until its own system runs: cut off before that, it is started when this is asked for again.
  await startGuest(guests, own, own);
  await guests.keep(own);
};

/** The root goes on in a copy; the old one stays as it was until the resize is settled. */
export const resize = async (
  guests: Guests,
  guest: Guest,
  flavor: FlavorSnapshot,
  refuseBeyondCapacity: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> => {
  const { definition } = guest;
  const { serverId: id } = definition;
  const wanted = { vcpus: flavor.vcpus, memory: flavor.memory, disk: flavor.disk };
  if (isOn(guest) || guest.power === 'suspended') refuse('a guest is resized while it is off');
  if (definition.stage === 'resized') {
    if (JSON.stringify(definition.size) !== JSON.stringify(wanted))
      refuse('another resize of the guest is not settled');
    return;
  }
  if (definition.stage !== 'settled') refuse(`a guest that is ${definition.stage} cannot be resized`);
  refuseWishes({}, flavor.extraSpecs);
  await refuseBeyondCapacity();
  const size = Number(await guests.call(id, SIZE_OF, [definition.boot.root]));
  if (flavor.disk > 0 && flavor.disk * GIB < size)
    throw new HypervisorError('unsupported', 'the root disk would become smaller');
  refuseAborted(signal);
  const root = `root-${Date.now().toString(16)}.raw`;
  try {
    const bytes = String(flavor.disk * GIB);
    await guests.call(id, COPY_DISK, [definition.boot.root, root, bytes], { timeout: BYTES_LIMIT });
    refuseAborted(signal);
    await guests.keep({
      ...definition,
      stage: 'resized',
      size: wanted,
      boot: { ...definition.boot, root },
      before: { size: definition.size, root: definition.boot.root },
    });
  } catch (error) {
    await guests.keep(definition);
    throw error;
  }
};

export const confirmResize = async (guests: Guests, { definition }: Guest): Promise<void> => {
  if (definition.stage !== 'resized') return;
  await guests.keep({ ...definition, stage: 'settled', before: null });
};

export const revertResize = async (guests: Guests, guest: Guest): Promise<void> => {
  const { definition } = guest;
  const { before } = definition;
  if (definition.stage !== 'resized' || !before) return;
  if (isOn(guest)) refuse('a resize is reverted while the guest is off');
  const boot = { ...definition.boot, root: before.root };
  await guests.keep({ ...definition, stage: 'settled', size: before.size, boot, before: null });
};
