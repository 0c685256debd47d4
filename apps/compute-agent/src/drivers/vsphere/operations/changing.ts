import { type FlavorSnapshot, gib, mib } from '@omnivisor/contracts';
import { type GuestNic, type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import type { ArgumentObject } from '../transport/soap.js';
import { controllerOf, exchangeLocal, fileAt, sizeAt, storedDisks } from './devices.js';
import type { GuestState, LocalDisk, StoredDisk } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import { machineFor, wishOf } from './hardware.js';
import type { Host } from './host.js';
import type { LocalDisks, Made } from './local-disks.js';
import type { Making } from './making.js';
import { type Power, refuseAborted } from './power.js';
import type { Snapshots } from './snapshots.js';

const GIB = 2 ** 30;

/** What a guest is to have, and what of its files is kept for later. */
interface Next {
  readonly state: GuestState;
  readonly disks: readonly StoredDisk[];
  readonly config: string | null;
  readonly keep: readonly StoredDisk[];
  readonly spec?: ArgumentObject;
}

const local = (disks: readonly StoredDisk[]): LocalDisk[] => disks.map(({ role, unit }) => ({ role, unit }));

/**
 * Changes what guests are made of. New files are made beside the old ones; then one reconfiguration exchanges the devices
 * and writes the new state, at one moment; then the files that nothing needs go.
 */
export class Changing {
  constructor(
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

  /** Of a VM that is off. */
  private async become(guest: Guest, { state, disks, config, keep, spec = {} }: Next): Promise<Guest> {
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
    const deviceChange = exchangeLocal(devices, before, { disks, config });
    const next = { ...state, disks: local(disks), config, scratch };
    return this.disks.sweep(await this.guests.write(guest, next, { ...spec, deviceChange }));
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
    await this.making.plan(spec.nics, machine);
    const had = controllerOf(await this.disks.devices(guest))?.$type;
    if (had !== machine.controller)
      throw new HypervisorError('unsupported', 'the image asks for another controller of disks than the guest has');
    const made = await this.makeBeside(guest, spec, signal);
    await this.power.cut(guest.vm.ref);
    const start = spec.powerOn ? 'rebuild' : null;
    const { guestId, firmware, bootOptions } = machine.config;
    const next = await this.become(made.guest, {
      state: { ...made.guest.state, build: mark.build, start },
      ...{ disks: made.disks, config: made.config, keep: [], spec: { guestId, firmware, bootOptions } },
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
    if (guest.state.phase === 'rescued') return this.making.startIfWanted(guest, spec.nics);
    this.refuseUnless(guest, 'settled', 'rescued');
    refuseAborted(signal);
    await this.making.plan(spec.nics, machineFor(wishOf(spec)));
    const plans = await this.disks.plansFor(
      { disks: { root: spec.disks.root, ephemeral: null, swap: mib(0) }, mark: spec.mark },
      signal,
    );
    const made = await this.disks.make(await this.ready(guest), plans, spec.configDrive, signal);
    await this.power.cut(guest.vm.ref);
    const { state } = made.guest;
    const own = storedDisks(await this.disks.devices(made.guest), state.disks);
    const rootNow = own.filter(({ role }) => role === 'root').map((disk) => ({ ...disk, unit: 1 }));
    const next = await this.become(made.guest, {
      state: { ...state, phase: 'rescued', own: { disks: own, config: state.config }, start: 'rescue' },
      disks: [...made.disks.map((disk) => ({ ...disk, role: 'rescue' })), ...rootNow],
      ...{ config: made.config, keep: own },
    });
    await this.making.startIfWanted(next, spec.nics);
  }

  async unrescue(guest: Guest, nics: readonly GuestNic[]): Promise<void> {
    const { own, phase, start } = guest.state;
    if (phase !== 'rescued' || !own) return start === 'unrescue' ? this.making.startIfWanted(guest, nics) : undefined;
    await this.power.cut(guest.vm.ref);
    const ready = await this.ready(guest);
    const { state } = ready;
    const devices = await this.disks.devices(ready);
    // Storage may have moved the file that is attached.
    const attached = state.disks.find(({ role }) => role === 'root');
    const disks = own.disks.map((disk) =>
      disk.role === 'root' && attached ? { ...disk, path: fileAt(devices, attached) } : disk,
    );
    const next = await this.become(ready, {
      state: { ...state, phase: 'settled', own: null, start: 'unrescue' },
      ...{ disks, config: own.config, keep: [] },
    });
    await this.making.startIfWanted(next, nics);
  }

  async resize(guest: Guest, flavor: FlavorSnapshot, signal: AbortSignal): Promise<void> {
    const { state, vm } = guest;
    const wanted = JSON.stringify([flavor.vcpus, flavor.memory, flavor.disk, flavor.ephemeral, flavor.swap]);
    if (state.phase === 'resized' && state.before?.flavor === wanted) return void (await this.disks.sweep(guest));
    this.refuseUnless(guest, 'settled', 'resized');
    if (vm.power !== 'shutdown') throw new HypervisorError('fault', 'only a guest that is off can be resized');
    refuseAborted(signal);
    const ready = await this.ready(guest);
    const devices = await this.disks.devices(ready);
    const old = storedDisks(devices, state.disks);
    refuseShrinking(devices, state, flavor);
    const growing = old.filter(({ role }) => role !== 'swap');
    const plans = growing.map(({ role, unit, path, kib }) => ({
      ...{ role, unit, from: { path, kib } },
      kib: Math.max(kib, (role === 'root' ? flavor.disk : role === 'ephemeral' ? flavor.ephemeral : 0) * 2 ** 20),
    }));
    const has = (role: string) => growing.some((disk) => disk.role === role);
    const ephemeral = has('ephemeral') ? gib(0) : flavor.ephemeral;
    const more = await this.disks.plansBeside(ephemeral, flavor.swap, signal);
    await this.host.assertFits(
      flavor.memory,
      [...plans, ...more].reduce((sum, { kib }) => sum + kib * 1024, 0),
    );
    const made = await this.disks.make(ready, [...plans, ...more], null, signal);
    const size = { vcpus: flavor.vcpus, memoryMib: flavor.memory };
    await this.become(made.guest, {
      state: {
        ...made.guest.state,
        ...{ phase: 'resized', size, before: { size: state.size, disks: old, flavor: wanted } },
      },
      ...{ disks: made.disks, config: state.config, keep: old, spec: sized(size) },
    });
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
    const { size, disks } = state.before;
    const ready = await this.ready(guest);
    await this.become(ready, {
      state: { ...ready.state, phase: 'settled', size, before: null },
      ...{ disks, config: state.config, keep: [], spec: sized(size) },
    });
  }
}

const sized = ({ vcpus, memoryMib }: GuestState['size']): ArgumentObject => ({ numCPUs: vcpus, memoryMB: memoryMib });

const refuseShrinking = (
  devices: Parameters<typeof sizeAt>[0],
  { disks }: GuestState,
  flavor: FlavorSnapshot,
): void => {
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
