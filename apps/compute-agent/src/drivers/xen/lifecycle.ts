import { isDeepStrictEqual } from 'node:util';
import { type FlavorSnapshot } from '@omnivisor/contracts';
import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import type { Definition, DomainType, Nic } from './definition.js';
import { bootFrom, configDriveOf, makeDisks, refuseAborted, resizedDisks } from './disks.js';
import { type Guest, type Guests, isOn } from './guests.js';
import { refuseWishes } from './hardware.js';
import { startGuest, stopGuest } from './power.js';
import { SIZE_OF } from './scripts.js';
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
  const wanted = devicesFor(spec.disks.ephemeral !== null, spec.disks.swap);
  // An adopted guest has its disks where it always had them.
  if (definition.disks.some(({ device }) => wanted.includes(device)))
    throw new HypervisorError('unsupported', 'a disk of the guest has the place of one that the flavor gives');
  let next = definition;
  if (definition.rebuilding !== spec.mark.build) {
    try {
      refuseAborted(signal);
      const made = await makeDisks(guests, spec, signal);
      refuseAborted(signal);
      await stopGuest(guests, spec.mark.serverId);
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
  const rescued = await rescueOf(guests, definition, { spec, type }, signal);
  await stopGuest(guests, spec.mark.serverId);
  try {
    await startGuest(guests, await guests.keep(rescued));
  } catch (error) {
    await stopGuest(guests, spec.mark.serverId);
    await guests.keep(definition);
    throw error;
  }
};

/** What it is while it is rescued, with the disks for that; it goes on meanwhile. */
const rescueOf = async (
  guests: Guests,
  definition: Definition,
  { spec, type }: Pick<Plan, 'spec' | 'type'>,
  signal: AbortSignal,
): Promise<Definition> => {
  try {
    refuseAborted(signal);
    const boot = await bootFrom(guests, spec, 'rescue', signal);
    const config = await configDriveOf(guests, spec);
    refuseAborted(signal);
    return { ...definition, stage: 'rescued', rescue: { type, boot, config } };
  } catch (error) {
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

/** @throws HypervisorError for a flavor that the guest cannot get */
export const refuseResize = async (
  guests: Guests,
  { definition }: Guest,
  flavor: FlavorSnapshot,
  refuseBeyondCapacity: () => Promise<void>,
): Promise<void> => {
  const { serverId: id, boot, ephemeral, disks } = definition;
  refuseWishes({}, flavor.extraSpecs);
  await refuseBeyondCapacity();
  const size = async (file: string) => Number(await guests.call(id, SIZE_OF, [file]));
  if (flavor.disk > 0 && flavor.disk * GIB < (await size(boot.root)))
    throw new HypervisorError('unsupported', 'the root disk would become smaller');
  if (ephemeral && flavor.ephemeral * GIB < (await size(ephemeral)))
    throw new HypervisorError('unsupported', 'the ephemeral disk would become smaller');
  const wanted = devicesFor(flavor.ephemeral > 0, flavor.swap);
  if (disks.some(({ device }) => wanted.includes(device)))
    throw new HypervisorError('unsupported', 'a disk of the guest has the place of one that the flavor gives');
};

/** Its disks go on in copies; the old ones stay as they were until the resize is settled. */
export const resize = async (
  guests: Guests,
  guest: Guest,
  flavor: FlavorSnapshot,
  refuseBeyondCapacity: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> => {
  const { definition } = guest;
  const { boot, ephemeral, swap } = definition;
  const size = { vcpus: flavor.vcpus, memory: flavor.memory, disk: flavor.disk };
  const wanted = JSON.stringify([size, flavor.ephemeral, flavor.swap]);
  if (definition.stage === 'resized') {
    if ((definition.before?.flavor ?? wanted) !== wanted || !isDeepStrictEqual(definition.size, size))
      refuse('another resize of the guest is not settled');
    return;
  }
  if (isOn(guest) || guest.power === 'suspended') refuse('a guest is resized while it is off');
  if (definition.stage !== 'settled') refuse(`a guest that is ${definition.stage} cannot be resized`);
  await refuseResize(guests, guest, flavor, refuseBeyondCapacity);
  refuseAborted(signal);
  try {
    const disks = await resizedDisks(guests, definition, flavor, signal);
    refuseAborted(signal);
    await guests.keep({
      ...definition,
      stage: 'resized',
      size,
      boot: { ...boot, root: disks.root },
      ...{ ephemeral: disks.ephemeral, swap: disks.swap },
      before: { size: definition.size, root: boot.root, second: { ephemeral, swap }, flavor: wanted },
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
  const { size, root, second } = before;
  const boot = { ...definition.boot, root };
  await guests.keep({ ...definition, ...second, stage: 'settled', size, boot, before: null });
};
