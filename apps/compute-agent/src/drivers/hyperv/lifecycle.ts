import { type FlavorSnapshot, mib } from '@omnivisor/contracts';
import { type GuestNic, type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import { type BuildOptions, diskFrom, plan, refuseAborted, writeIso } from './build.js';
import { type Guest, type Guests, isOn } from './guests.js';
import { memoryFor, refuseWishes } from './hardware.js';
import { arrangeDisks, sweep } from './layout.js';
import { type Mark, sizeOf } from './mark.js';
import { cutPower, start } from './power.js';

const GIB = 1024 ** 3;

const refuse = (message: string): never => {
  throw new HypervisorError('fault', message);
};

/** Disks anew, identity and attached disks kept. What happens before the notes say so can be thrown away. */
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
  await cutPower(guest);
  const { root, ephemeral } = spec.disks;
  try {
    refuseAborted(signal);
    const made = await diskFrom(on, mark.serverId, 'root', root.source, root.size * GIB, signal);
    const second = ephemeral?.source
      ? await diskFrom(on, mark.serverId, 'ephemeral', ephemeral.source, ephemeral.size * GIB, signal)
      : null;
    const configDrive = await writeIso(on, spec);
    refuseAborted(signal);
    // From here on it is the new guest: whoever comes next puts these disks where they belong.
    await guests.write(guest, {
      ...mark,
      rebuilding: spec.mark.build,
      size: { ...mark.size, disk: root.size },
      root: made.path,
      ephemeral: second?.path ?? null,
      configDrive,
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
    if (!isOn(guest)) await start(guest);
    return;
  }
  if (mark.stage !== 'settled') refuse(`a guest that is ${mark.stage} cannot be rescued`);
  const { hardware } = plan(spec, options);
  if (hardware.generation !== vm.Generation)
    throw new HypervisorError('unsupported', `the rescue image is not one for generation ${vm.Generation}`);
  await cutPower(guest);
  try {
    refuseAborted(signal);
    const { root } = spec.disks;
    const made = await diskFrom(on, mark.serverId, 'rescue', root.source, root.size * GIB, signal);
    refuseAborted(signal);
    const configDrive = (await writeIso(on, spec)) ?? mark.configDrive;
    const rescued = { ...mark, stage: 'rescued' as const, rescue: made.path, images: [...mark.images, ...made.images] };
    await guests.write(guest, rescued);
    await on.disks.insert(vm.Id, vm.Generation, configDrive);
    await start({ ...guest, mark: rescued });
  } catch (error) {
    await guests.write(guest, mark);
    await cutPower(guest);
    await arrangeDisks(guest, mark);
    await on.disks.insert(vm.Id, vm.Generation, mark.configDrive);
    await sweep(on, mark);
    throw error;
  }
};

export const unrescue = async (guests: Guests, guest: Guest, plug: () => Promise<void>): Promise<void> => {
  const { on, vm, mark } = guest;
  if (mark.stage !== 'rescued') return;
  await cutPower(guest);
  const own: Mark = { ...mark, stage: 'settled', rescue: null, images: mark.images.slice(0, -1) };
  await arrangeDisks(guest, own);
  await on.disks.insert(vm.Id, vm.Generation, own.configDrive);
  await plug();
  // It is rescued until its own system runs: cut off before that, it is started when this is asked for again.
  await start({ ...guest, mark: own });
  await guests.write(guest, own);
  await sweep(on, own);
};

/** The root goes on in a disk above the old one, which so stays as it was until the resize is settled. */
export const resize = async (
  guests: Guests,
  guest: Guest,
  flavor: FlavorSnapshot,
  { dynamicMemoryRatio }: BuildOptions,
  signal: AbortSignal,
): Promise<void> => {
  const { on, vm, mark } = guest;
  const wanted = sizeOf(flavor, flavor.disk);
  if (isOn(guest)) refuse('a guest is resized while it is off');
  const apply = async (to: Mark) => {
    await on.machines.setSize(vm.Id, to.size.vcpus, memoryFor(mib(to.size.memory), dynamicMemoryRatio));
    await arrangeDisks(guest, to);
  };
  if (mark.stage === 'resized') {
    if (JSON.stringify(mark.size) !== JSON.stringify(wanted)) refuse('another resize of the guest is not settled');
    return apply(mark);
  }
  if (mark.stage !== 'settled') refuse(`a guest that is ${mark.stage} cannot be resized`);
  refuseWishes({}, flavor.extraSpecs);
  const { Size } = await on.disks.info(mark.root);
  if (flavor.disk > 0 && flavor.disk * GIB < Size)
    throw new HypervisorError('unsupported', 'the root disk would become smaller');
  if (flavor.ephemeral > 0 || flavor.swap > 0)
    throw new HypervisorError('unsupported', 'Hyper-V cannot serve an ephemeral or swap disk');
  refuseAborted(signal);
  const root = await on.disks.above(
    mark.root,
    on.paths.guest(mark.serverId, `root-${Date.now().toString(16)}`),
    flavor.disk * GIB,
  );
  const resized: Mark = { ...mark, stage: 'resized', size: wanted, root, before: { size: mark.size, root: mark.root } };
  try {
    refuseAborted(signal);
    await guests.write(guest, resized);
    await apply(resized);
    refuseAborted(signal);
  } catch (error) {
    await guests.write(guest, mark);
    await apply(mark);
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

export const revertResize = async (
  guests: Guests,
  guest: Guest,
  { dynamicMemoryRatio }: BuildOptions,
): Promise<void> => {
  const { on, vm, mark } = guest;
  if (mark.stage !== 'resized' || !mark.before) return;
  if (isOn(guest)) refuse('a resize is reverted while the guest is off');
  const { size, root } = mark.before;
  const reverted: Mark = { ...mark, size, root };
  await on.machines.setSize(vm.Id, size.vcpus, memoryFor(mib(size.memory), dynamicMemoryRatio));
  await arrangeDisks(guest, reverted);
  const settled: Mark = { ...reverted, stage: 'settled', before: null };
  await guests.write(guest, settled);
  await sweep(on, settled);
};
