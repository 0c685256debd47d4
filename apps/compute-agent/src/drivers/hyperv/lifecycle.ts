import { type FlavorSnapshot, type HardwareWishes, hardwareWishesOf, mib } from '@omnivisor/contracts';
import { type GuestNic, type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { type BuildOptions, diskFrom, plan, refuseAborted, writeIso } from './build.js';
import { settledDrives } from './checkpoints.js';
import { type Guest, type Guests, isOn } from './guests.js';
import { memoryFor, rescuedWishes, resizedWishes, secureBootChange } from './hardware.js';
import { arrangeDisks, sweep } from './layout.js';
import { type Mark, sizeOf } from './mark.js';
import { powerOf } from './operations/machines.js';
import { cutPower, start } from './power.js';

const GIB = 1024 ** 3;

const refuse = (message: string): never => {
  throw new HypervisorError('fault', message);
};

/** What is not asked for otherwise stays as the guest has it. */
const changeSecureBoot = async ({ on, vm }: Guest, from: HardwareWishes | null, to: HardwareWishes | null) => {
  const change = secureBootChange(from, to);
  if (change) await on.machines.setSecureBoot(vm.Id, change);
};

/**
 * Disks anew, identity and attached disks kept. They are made beside the old ones, which the guest runs on until then; what
 * happens before the notes say so can be thrown away.
 */
export const rebuild = async (
  guests: Guests,
  spec: GuestSpec,
  options: BuildOptions,
  signal: AbortSignal,
  plug: (guest: Guest, nics: readonly GuestNic[]) => Promise<void>,
): Promise<void> => {
  const guest = await guests.get(spec.mark.serverId);
  const { vm, mark } = guest;
  if (mark.attempt !== spec.mark.attempt) refuse('another attempt of the server is on this host');
  if (mark.build > spec.mark.build) refuse('the guest was rebuilt later than this');
  if (mark.build === spec.mark.build) return;
  if (mark.stage !== 'settled') refuse(`a guest that is ${mark.stage} cannot be rebuilt`);
  const { hardware } = plan(spec, options);
  if (hardware.generation !== vm.Generation)
    throw new HypervisorError('unsupported', 'a guest of Hyper-V keeps its generation for life');
  await settledDrives(guest);

  const replaced = mark.rebuilding === spec.mark.build ? guest : await replaceDisks(guests, guest, spec, signal);
  const { on: host, mark: next } = replaced;
  if (!isOn(replaced) && vm.Generation === 2) await host.machines.setSecureBoot(vm.Id, hardware);
  await arrangeDisks(replaced, next);
  await host.disks.insert(vm.Id, vm.Generation, next.configDrive);
  await sweep(host, next);
  await plug(replaced, spec.nics);
  if (spec.powerOn) await start(replaced);
  await guests.write(replaced, { ...next, build: spec.mark.build, rebuilding: null });
};

const replaceDisks = async (guests: Guests, guest: Guest, spec: GuestSpec, signal: AbortSignal): Promise<Guest> => {
  const { on, mark } = guest;
  const { root, ephemeral } = spec.disks;
  try {
    refuseAborted(signal);
    const made = await diskFrom(on, mark.serverId, 'root', root.source, root.size * GIB, signal);
    const second = ephemeral?.source
      ? await diskFrom(on, mark.serverId, 'ephemeral', ephemeral.source, ephemeral.size * GIB, signal)
      : null;
    const configDrive = await writeIso(on, spec);
    refuseAborted(signal);
    await settledDrives(guest);
    await cutPower(guest);
    // From here on it is the new guest: whoever comes next puts these disks where they belong.
    await guests.write(guest, {
      ...mark,
      rebuilding: spec.mark.build,
      size: { ...mark.size, disk: root.size },
      root: made.path,
      ephemeral: second?.path ?? null,
      configDrive,
      wishes: hardwareWishesOf(spec.image, spec.flavor),
      images: [...made.images, ...(second?.images ?? [])],
    });
  } catch (error) {
    await sweep(on, mark);
    throw error;
  }
  return guests.get(mark.serverId);
};

export const rescue = async (
  guests: Guests,
  spec: GuestSpec,
  options: BuildOptions,
  signal: AbortSignal,
): Promise<void> => {
  const guest = await guests.get(spec.mark.serverId);
  const { on, vm, mark } = guest;
  if (mark.stage === 'rescued') {
    if (isOn(guest)) return;
    if (powerOf(vm.State) === 'shutdown') await equipRescue(guest);
    return start(guest);
  }
  if (mark.stage !== 'settled') refuse(`a guest that is ${mark.stage} cannot be rescued`);
  const { hardware } = plan(spec, options);
  if (hardware.generation !== vm.Generation)
    throw new HypervisorError('unsupported', `the rescue image is not one for generation ${vm.Generation}`);
  const { root } = spec.disks;
  const isOwnImage = !mark.wishes && mark.images.includes(await on.disks.imagePath(root.source));
  const rescueWishes = rescuedWishes(mark.wishes, spec.image, isOwnImage);
  await settledDrives(guest);
  const { made, configDrive } = await rescueDisks(guest, spec, signal);
  const images = [...mark.images, ...made.images];
  const rescued: Mark = {
    ...{ ...mark, stage: 'rescued', images },
    ...{ rescue: made.path, rescueWishes, rescueConfigDrive: configDrive },
    ejected: mark.configDrive ? null : await on.disks.inserted(vm.Id, vm.Generation),
  };
  try {
    await cutPower(guest);
    await guests.write(guest, rescued);
    await equipRescue({ ...guest, mark: rescued });
    await start({ ...guest, mark: rescued });
  } catch (error) {
    await cutPower(guest);
    // It is rescued as long as it boots otherwise than its own system does.
    await changeSecureBoot(guest, rescueWishes, mark.wishes);
    await guests.write(guest, mark);
    await arrangeDisks(guest, mark);
    await insertOwn({ ...guest, mark: rescued });
    await sweep(on, mark);
    throw error;
  }
};

/** Again: goes on where it was cut off. */
const equipRescue = async (guest: Guest): Promise<void> => {
  const { on, vm, mark } = guest;
  await changeSecureBoot(guest, mark.wishes, mark.rescueWishes);
  if (mark.rescueConfigDrive) await on.disks.insert(vm.Id, vm.Generation, mark.rescueConfigDrive);
};

/** Of a guest that is rescued no more: what was in the drive. What somebody has put in meanwhile stays, if nothing of ours was. */
const insertOwn = async ({ on, vm, mark }: Guest): Promise<void> => {
  const iso = mark.configDrive ?? mark.ejected;
  const there = await on.disks.inserted(vm.Id, vm.Generation);
  const isOurs = there?.toLowerCase().startsWith(`${on.paths.guest(mark.serverId).toLowerCase()}\\`);
  if (mark.configDrive || isOurs) await on.disks.insert(vm.Id, vm.Generation, iso);
};

/** What it will start from, beside what it runs on. */
const rescueDisks = async (guest: Guest, spec: GuestSpec, signal: AbortSignal) => {
  const { on, mark } = guest;
  const { root } = spec.disks;
  try {
    refuseAborted(signal);
    const made = await diskFrom(on, mark.serverId, 'rescue', root.source, root.size * GIB, signal);
    const configDrive = (await writeIso(on, spec)) ?? mark.configDrive;
    refuseAborted(signal);
    await settledDrives(guest);
    return { made, configDrive };
  } catch (error) {
    await sweep(on, mark);
    throw error;
  }
};

export const unrescue = async (guests: Guests, guest: Guest, plug: () => Promise<void>): Promise<void> => {
  const { on, mark } = guest;
  if (mark.stage !== 'rescued') return;
  await settledDrives(guest);
  await cutPower(guest);
  const own: Mark = {
    ...{ ...mark, stage: 'settled', images: mark.images.slice(0, -1) },
    ...{ rescue: null, rescueWishes: null, rescueConfigDrive: null, ejected: null },
  };
  await changeSecureBoot(guest, mark.rescueWishes, mark.wishes);
  await arrangeDisks(guest, own);
  await insertOwn(guest);
  await plug();
  // It is rescued until its own system runs: cut off before that, it is started when this is asked for again.
  await start({ ...guest, mark: own });
  await guests.write(guest, own);
  await sweep(on, own);
};

/** Again: goes on where it was cut off. */
const become = async (guest: Guest, from: Mark, to: Mark, { dynamicMemoryRatio }: BuildOptions): Promise<void> => {
  const { machines } = guest.on;
  await machines.setSize(guest.vm.Id, to.size.vcpus, memoryFor(mib(to.size.memory), dynamicMemoryRatio));
  await changeSecureBoot(guest, from.wishes, to.wishes);
  await arrangeDisks(guest, to);
};

/** @throws HypervisorError `unsupported` for a flavor that the guest cannot get; `fault` for a checkpoint of others */
export const refuseResize = async (guest: Guest, flavor: FlavorSnapshot): Promise<void> => {
  const { on, vm, mark } = guest;
  resizedWishes(mark.wishes, flavor, vm.Generation);
  const size = async (path: string) => (await on.disks.info(path)).Size;
  if (flavor.disk > 0 && flavor.disk * GIB < (await size(mark.root)))
    throw new HypervisorError('unsupported', 'the root disk would become smaller');
  // One that came with it from another host stays as it is.
  const ephemeral = mark.ephemeral ? await size(mark.ephemeral) : 0;
  if (flavor.ephemeral * GIB !== ephemeral || flavor.swap > 0)
    throw new HypervisorError('unsupported', 'Hyper-V cannot serve another ephemeral disk, or a swap disk');
  await settledDrives(guest);
};

/** The root goes on in a disk above the old one, which so stays as it was until the resize is settled. */
export const resize = async (
  guests: Guests,
  guest: Guest,
  flavor: FlavorSnapshot,
  options: BuildOptions,
  signal: AbortSignal,
): Promise<void> => {
  const { on, vm, mark } = guest;
  const wanted = sizeOf(flavor, flavor.disk);
  const isOff = powerOf(vm.State) === 'shutdown';
  if (mark.stage === 'resized') {
    // Where an older release began it only the sizes are known.
    const asked = mark.wishes && { ...mark.wishes, extraSpecs: flavor.extraSpecs };
    if (JSON.stringify(mark.size) !== JSON.stringify(wanted) || secureBootChange(mark.wishes, asked))
      refuse('another resize of the guest is not settled');
    return isOff ? become(guest, { ...mark, ...mark.before }, mark, options) : undefined;
  }
  if (!isOff) refuse('a guest is resized while it is off');
  const wishes = resizedWishes(mark.wishes, flavor, vm.Generation);
  if (mark.stage !== 'settled') refuse(`a guest that is ${mark.stage} cannot be resized`);
  await refuseResize(guest, flavor);
  refuseAborted(signal);
  const root = await on.disks.above(
    mark.root,
    on.paths.guest(mark.serverId, `root-${Date.now().toString(16)}`),
    flavor.disk * GIB,
  );
  const before = { size: mark.size, root: mark.root, wishes: mark.wishes };
  const resized: Mark = { ...mark, stage: 'resized', size: wanted, root, wishes, before };
  try {
    refuseAborted(signal);
    await guests.write(guest, resized);
    await become(guest, mark, resized, options);
    refuseAborted(signal);
  } catch (error) {
    await guests.write(guest, mark);
    await become(guest, resized, mark, options);
    await sweep(on, mark);
    throw error;
  }
};

export const confirmResize = async (guests: Guests, guest: Guest): Promise<void> => {
  const { on, mark } = guest;
  if (mark.stage !== 'resized') return;
  const settled: Mark = { ...mark, stage: 'settled', before: null };
  await guests.write(guest, settled);
  // The old disk stays as long as the new one stands on it.
  await sweep(on, settled);
};

export const revertResize = async (guests: Guests, guest: Guest, options: BuildOptions): Promise<void> => {
  const { on, mark } = guest;
  if (mark.stage !== 'resized' || !mark.before) return;
  if (isOn(guest)) refuse('a resize is reverted while the guest is off');
  await settledDrives(guest);
  const reverted: Mark = { ...mark, ...mark.before };
  await become(guest, mark, reverted, options);
  const settled: Mark = { ...reverted, stage: 'settled', before: null };
  await guests.write(guest, settled);
  await sweep(on, settled);
};
