import { type FlavorSnapshot, type GiB, gib, type HardwareWishes, hardwareWishesOf, mib } from '@omnivisor/contracts';
import { flavorText, isFlavorText } from '../../common/flavor-text.js';
import { orTakeBack } from '../../common/take-back.js';
import { type GuestNic, type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import type { AnswerObject } from '../transport/soap.js';
import { fromVim } from '../transport/vim-fault.js';
import { cardTypes, controllerOf, exchangeLocal, fileAt, retypeNics, sameMac, sizeAt, storedDisks } from './devices.js';
import type { GuestState, LocalDisk, StoredDisk } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import { type Config, cardOf, machineFor, wishOf, wishOfGuest } from './hardware.js';
import type { Host } from './host.js';
import { type DiskPlan, type LocalDisks, type Made, plannedBytes } from './local-disks.js';
import {
  asBefore,
  CONFIG_PATHS,
  changesOf,
  configOf,
  FIRMWARE_PATHS,
  overlaid,
  refuseController,
  refuseStrange,
  resizedMachine,
  wishesOfVm,
} from './machine-changes.js';
import type { Making } from './making.js';
import type { PlannedNic } from './networks.js';
import { type Power, refuseAborted } from './power.js';
import { type Device, devicesOf } from './records.js';
import type { Snapshots } from './snapshots.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** What a guest is to have, and what of its files is kept for later. */
interface Next {
  readonly state: GuestState;
  readonly disks: readonly StoredDisk[];
  readonly config: string | null;
  readonly keep: readonly StoredDisk[];
  readonly spec?: Config;
  /** Ports whose cards become of another type. */
  readonly nics?: readonly PlannedNic[];
}

/** A VM as it is. */
interface Look {
  readonly has: Config;
  readonly devices: readonly Device[];
  /** Type of the controller that its disks are on. */
  readonly controller: string | undefined;
  /** What was said of its hardware, or else what it says by itself. */
  readonly wishes: HardwareWishes;
}

const local = (disks: readonly StoredDisk[]): LocalDisk[] => disks.map(({ role, unit }) => ({ role, unit }));

/**
 * Changes what guests are made of. New files are made beside the old ones; then one reconfiguration exchanges the devices
 * and writes the new state, at one moment; then the files that nothing needs go.
 */
export class Changing {
  constructor(
    private readonly read: PropertyReader,
    private readonly guests: Guests,
    private readonly disks: LocalDisks,
    private readonly snapshots: Snapshots,
    private readonly power: Power,
    private readonly host: Host,
    private readonly making: Making,
  ) {}

  /** A guest whose files are its own to exchange: without snapshots, and without what a change left that was cut off. */
  private async ready(guest: Guest): Promise<Guest> {
    await this.snapshots.drop(guest);
    return this.disks.sweep(guest);
  }

  private async look({ vm, state }: Guest): Promise<Look> {
    const properties = await this.read.of(vm.ref, CONFIG_PATHS);
    const config = configOf(properties);
    const has = state.firmware === null ? config : { ...config, firmware: state.firmware, bootOptions: undefined };
    const devices = devicesOf((properties['config.hardware'] as AnswerObject | undefined)?.device);
    const controller = controllerOf(devices)?.$type;
    return { has, devices, controller, wishes: state.wishes ?? wishesOfVm(has, controller) };
  }

  /** Of a VM that is off. */
  private async become(guest: Guest, { state, disks, config, keep, spec = {}, nics = [] }: Next): Promise<Guest> {
    const devices = await this.disks.devices(guest);
    const before = guest.state;
    const old = [
      ...storedDisks(devices, before.disks).map(({ path }) => path),
      ...(before.config === null ? [] : [before.config]),
      ...[...(before.own?.disks ?? []), ...(before.before?.disks ?? [])].map(({ path }) => path),
      ...(before.own?.config ? [before.own.config] : []),
    ];
    const needed = [...[...disks, ...keep].map(({ path }) => path), config, state.own?.config ?? null];
    const scratch = [...new Set(old)].filter((path) => !needed.includes(path));
    const deviceChange = [...exchangeLocal(devices, before, { disks, config }), ...retypeNics(devices, nics)];
    const next = { ...state, disks: local(disks), config, scratch };
    if (!(await this.isLate(guest, spec))) {
      const firmware = spec.firmware === undefined ? state.firmware : null;
      return this.disks.sweep(await this.guests.write(guest, { ...next, firmware }, { ...spec, deviceChange }));
    }
    const first = { ...spec, firmware: undefined, bootOptions: { efiSecureBootEnabled: false }, deviceChange };
    const made = await this.guests.write(guest, { ...next, firmware: 'bios' }, first);
    return this.disks.sweep(await this.guests.write(made, { ...next, firmware: null }, { firmware: 'bios' }));
  }

  /** A VM with secure boot gets BIOS after that is off: with BIOS, the vCenter refuses any word about it. */
  private async isLate({ vm }: Guest, { firmware }: Config): Promise<boolean> {
    if (firmware !== 'bios') return false;
    const { bootOptions } = configOf(await this.read.of(vm.ref, FIRMWARE_PATHS));
    return bootOptions?.efiSecureBootEnabled === true;
  }

  async rebuild(guest: Guest, spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { state } = guest;
    const { mark } = spec;
    if (state.cloudId !== mark.cloudId || state.attempt !== mark.attempt || state.build > mark.build)
      throw new HypervisorError('fault', 'another attempt or a newer build of the server is on this host');
    if (state.build === mark.build) return this.making.startIfWanted(guest, spec.nics);
    this.refuseUnless(guest, 'settled', 'rebuilt');
    refuseAborted(signal);
    const machine = machineFor(wishOf(spec));
    const nics = await this.making.plan(spec.nics, machine.nic);
    const { has, controller } = await this.look(guest);
    const from = state.wishes && machineFor(wishOfGuest(state.size, state.wishes));
    refuseController(controller, from, machine);
    const made = await this.makeBeside(guest, spec, signal);
    await this.power.cut(guest.vm.ref);
    const { flavor, image } = spec;
    const next = await this.become(made.guest, {
      state: {
        ...{ ...made.guest.state, build: mark.build, start: spec.powerOn ? 'rebuild' : null },
        ...{ size: { vcpus: flavor.vcpus, memoryMib: flavor.memory }, wishes: hardwareWishesOf(image, flavor) },
      },
      ...{ disks: made.disks, config: made.config, keep: [], nics },
      spec: { ...machine.config, ...changesOf(from, machine, has) },
    });
    await this.making.startIfWanted(next, spec.nics);
  }

  private async makeBeside(guest: Guest, spec: GuestSpec, signal: AbortSignal): Promise<Made> {
    const plans = await this.disks.plansFor(spec, signal);
    return this.disks.make(await this.ready(guest), plans, spec.configDrive, signal);
  }

  private refuseUnless({ state }: Guest, phase: GuestState['phase'], what: string): void {
    if (state.phase !== phase) throw new HypervisorError('fault', `a guest that is ${state.phase} cannot be ${what}`);
  }

  async rescue(guest: Guest, spec: GuestSpec, signal: AbortSignal): Promise<void> {
    if (guest.state.phase === 'rescued')
      return this.orTakeBack(guest, spec.nics, () => this.making.startIfWanted(guest, spec.nics));
    this.refuseUnless(guest, 'settled', 'rescued');
    refuseAborted(signal);
    const said = hardwareWishesOf(spec.image, spec.flavor).properties;
    const look = await this.look(guest);
    const wishes = { ...look.wishes, properties: overlaid(look.wishes.properties, said) };
    const { size } = guest.state;
    const machine = machineFor({ ...wishOfGuest(size, wishes), directBoot: spec.directBoot !== null });
    const from = machineFor(wishOfGuest(size, look.wishes));
    refuseController(look.controller, from, machine);
    const spare = changesOf(from, machine, look.has);
    const planned = await this.making.plan(spec.nics, machine.nic);
    const cards = said.hw_vif_model === undefined ? null : cardTypes(look.devices, guest.state);
    refuseStrange(cards ?? []);
    const plans = await this.disks.plansFor(
      { disks: { root: spec.disks.root, ephemeral: null, swap: mib(0) }, mark: spec.mark },
      signal,
    );
    const made = await this.disks.make(await this.ready(guest), plans, spec.configDrive, signal);
    await this.power.cut(guest.vm.ref);
    const { state } = made.guest;
    const own = storedDisks(await this.disks.devices(made.guest), state.disks);
    const rootNow = own.filter(({ role }) => role === 'root').map((disk) => ({ ...disk, unit: 1 }));
    await this.orTakeBack(made.guest, spec.nics, async () => {
      const next = await this.become(made.guest, {
        state: {
          ...{ ...state, phase: 'rescued', start: 'rescue', wishes },
          own: { disks: own, config: state.config, wishes: state.wishes, was: asBefore(look.has, spare), cards },
        },
        disks: [...made.disks.map((disk) => ({ ...disk, role: 'rescue' })), ...rootNow],
        ...{ config: made.config, keep: own, spec: spare, nics: cards === null ? [] : planned },
      });
      refuseAborted(signal);
      await this.making.startIfWanted(next, spec.nics);
    });
  }

  private orTakeBack(guest: Guest, nics: readonly GuestNic[], start: () => Promise<void>): Promise<void> {
    return orTakeBack(start, () => this.takeBack(guest, nics), fromVim);
  }

  private async takeBack(guest: Guest, nics: readonly GuestNic[]): Promise<void> {
    const now = await this.guests.again(guest);
    const { own } = now.state;
    await (own ? this.putBack(now, own, nics, null) : this.disks.sweep(now));
  }

  async unrescue(guest: Guest, nics: readonly GuestNic[]): Promise<void> {
    const { own, phase, start } = guest.state;
    if (phase !== 'rescued' || !own) return start === 'unrescue' ? this.making.startIfWanted(guest, nics) : undefined;
    const next = await this.putBack(guest, own, nics, 'unrescue');
    await this.making.startIfWanted(next, nics);
  }

  /** A rescued guest, off, is what it was. */
  private async putBack(
    guest: Guest,
    own: NonNullable<GuestState['own']>,
    nics: readonly GuestNic[],
    start: GuestState['start'],
  ): Promise<Guest> {
    const { cards, was, wishes } = own;
    const planned = cards === null ? [] : await this.making.plan(nics, cardOf(wishes));
    const typeOf = ({ nic, type }: PlannedNic) => cards?.find(({ mac }) => sameMac(mac, nic.mac))?.type ?? type;
    await this.power.cut(guest.vm.ref);
    const ready = await this.ready(guest);
    const { state } = ready;
    const devices = await this.disks.devices(ready);
    // Storage may have moved the file that is attached.
    const attached = state.disks.find(({ role }) => role === 'root');
    const disks = own.disks.map((disk) =>
      disk.role === 'root' && attached ? { ...disk, path: fileAt(devices, attached) } : disk,
    );
    return this.become(ready, {
      state: { ...state, phase: 'settled', own: null, start, wishes },
      ...{ disks, config: own.config, keep: [], spec: was },
      nics: planned.map((plan) => ({ ...plan, type: typeOf(plan) })),
    });
  }

  /** @throws HypervisorError as `resize` does; nothing is changed */
  async checkResize(guest: Guest, flavor: FlavorSnapshot): Promise<void> {
    if (isResized(guest, flavor)) return;
    this.refuseUnless(guest, 'settled', 'resized');
    await this.resized(guest, flavor);
  }

  async resize(guest: Guest, flavor: FlavorSnapshot, signal: AbortSignal): Promise<void> {
    const { state, vm } = guest;
    if (isResized(guest, flavor)) return void (await this.disks.sweep(guest));
    this.refuseUnless(guest, 'settled', 'resized');
    if (vm.power !== 'shutdown') throw new HypervisorError('fault', 'only a guest that is off can be resized');
    refuseAborted(signal);
    const { size, wishes, spec, was } = await this.resized(guest, flavor);
    const ready = await this.ready(guest);
    const old = storedDisks(await this.disks.devices(ready), state.disks);
    const plans = grown(old, flavor);
    const more = await this.disks.plansBeside(newEphemeral(old, flavor), flavor.swap, signal);
    const made = await this.disks.make(ready, [...plans, ...more], null, signal);
    await this.become(made.guest, {
      state: {
        ...{ ...made.guest.state, phase: 'resized', size, wishes },
        before: { size: state.size, disks: old, flavor: flavorText(flavor), wishes: state.wishes, was },
      },
      ...{ disks: made.disks, config: state.config, keep: old, spec: { ...spec, ...sized(size) } },
    });
  }

  /** What changes of its VM, and how that is now. @throws HypervisorError for a flavor that the guest cannot get */
  private async resized(guest: Guest, flavor: FlavorSnapshot) {
    const { state } = guest;
    const { has, devices, wishes } = await this.look(guest);
    const size = { vcpus: flavor.vcpus, memoryMib: flavor.memory };
    const from = machineFor(wishOfGuest(state.size, wishes));
    // One that came with the flavor's secure boot stays.
    const stays: Record<string, string> = from.config.firmware === 'efi' ? { hw_firmware_type: 'uefi' } : {};
    const next = { properties: { ...wishes.properties, ...stays }, extraSpecs: flavor.extraSpecs };
    const spec = changesOf(from, resizedMachine(from, wishOfGuest(size, next)), has);
    refuseShrinking(devices, state, flavor);
    const old = storedDisks(devices, state.disks);
    await this.host.assertFits(
      flavor.memory,
      plannedBytes(grown(old, flavor)) + newEphemeral(old, flavor) * GIB + flavor.swap * MIB,
    );
    return { size, wishes: next, spec, was: asBefore(has, spec) };
  }

  async confirmResize(guest: Guest): Promise<void> {
    const { state } = guest;
    if (state.phase !== 'resized') return void (await this.disks.sweep(guest));
    const scratch = [...state.scratch, ...(state.before?.disks ?? []).map(({ path }) => path)];
    await this.disks.sweep(await this.guests.write(guest, { ...state, phase: 'settled', before: null, scratch }));
  }

  async revertResize(guest: Guest): Promise<void> {
    const { state, vm } = guest;
    if (state.phase !== 'resized' || !state.before) return void (await this.disks.sweep(guest));
    if (vm.power !== 'shutdown') throw new HypervisorError('fault', 'only a guest that is off can be put back');
    const { size, disks, wishes, was } = state.before;
    const ready = await this.ready(guest);
    await this.become(ready, {
      state: { ...ready.state, phase: 'settled', size, wishes, before: null },
      ...{ disks, config: state.config, keep: [], spec: { ...was, ...sized(size) } },
    });
  }
}

const sized = ({ vcpus, memoryMib }: GuestState['size']): Config => ({ numCPUs: vcpus, memoryMB: memoryMib });

const isResized = ({ state: { phase, before } }: Guest, flavor: FlavorSnapshot): boolean =>
  phase === 'resized' && before !== null && isFlavorText(before.flavor, flavor);

/** The disks that go on, as large as they become. Swap is made anew. */
const grown = (disks: readonly StoredDisk[], flavor: FlavorSnapshot): DiskPlan[] =>
  disks
    .filter(({ role }) => role !== 'swap')
    .map(({ role, unit, path, kib }) => ({
      ...{ role, unit, from: { path, kib } },
      kib: Math.max(kib, (role === 'root' ? flavor.disk : role === 'ephemeral' ? flavor.ephemeral : 0) * 2 ** 20),
    }));

/** Size of one that it does not have yet. */
const newEphemeral = (disks: readonly StoredDisk[], flavor: FlavorSnapshot): GiB =>
  disks.some(({ role }) => role === 'ephemeral') ? gib(0) : flavor.ephemeral;

const refuseShrinking = (devices: readonly Device[], { disks }: GuestState, flavor: FlavorSnapshot): void => {
  for (const [role, size] of [
    ['root', flavor.disk],
    ['ephemeral', flavor.ephemeral],
  ] as const) {
    const disk = disks.find((each) => each.role === role);
    const kept = role === 'root' && size === 0;
    if (disk && !kept && sizeAt(devices, disk) > size * GIB)
      throw new HypervisorError('unsupported', `the ${role} disk would become smaller, and lose what is on it`);
  }
};
