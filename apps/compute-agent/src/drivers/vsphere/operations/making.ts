import { hardwareWishesOf, type ServerId } from '@omnivisor/contracts';
import { type GuestNic, type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import type { ArgumentObject, Ref } from '../transport/soap.js';
import { LONG_TASK_LIMIT, type Updates } from '../transport/updates.js';
import { isFault } from '../transport/vim-fault.js';
import { type Consoles, consoleFile } from './consoles.js';
import {
  addController,
  addNic,
  addSerialPort,
  arrangeNics,
  connectNics,
  exchangeLocal,
  nicAt,
  portsOf,
  refuseTooMany,
  removeDisk,
  sameMac,
} from './devices.js';
import { type GuestState, newState, STATE_KEY } from './guest-state.js';
import { extraConfig, type Guest, type Guests } from './guests.js';
import { cardOf, type Machine, machineFor, wishOf } from './hardware.js';
import type { Host } from './host.js';
import { type LocalDisks, plannedBytes } from './local-disks.js';
import type { Networks, PlannedNic } from './networks.js';
import type { Policies } from './policies.js';
import { type Power, refuseAborted } from './power.js';
import type { Device } from './records.js';

interface Parts {
  readonly read: PropertyReader;
  readonly updates: Updates;
  readonly cloudId: string;
  readonly guests: Guests;
  readonly networks: Networks;
  readonly disks: LocalDisks;
  readonly policies: Policies;
  readonly power: Power;
  readonly host: Host;
  readonly consoles: Consoles;
}

/**
 * Names may have signs that mean something to a vCenter; its own are at most 80 characters. Two attempts may be in one
 * folder, where names are unique.
 */
const nameOf = ({ name, mark: { serverId, attempt } }: GuestSpec): string =>
  `${name.replace(/[^A-Za-z0-9 ._-]/g, '_').slice(0, 34)} (${serverId})${attempt === 1 ? '' : ` ${attempt}`}`;

/**
 * What a guest sees as its product UUID is the server's id, whatever VM it is in. SMBIOS has the first three parts the
 * other way round, and a vCenter tells the bytes as they lie.
 */
const smbiosUuid = ({ mark }: GuestSpec): string =>
  mark.serverId.replace(/^(..)(..)(..)(..)-(..)(..)-(..)(..)/, '$4$3$2$1-$6$5-$8$7');

/** Makes guests, starts them and removes them. */
export class Making {
  constructor(private readonly parts: Parts) {}

  async spawn(spec: GuestSpec, signal: AbortSignal): Promise<void> {
    const { guests, disks, host, power, updates } = this.parts;
    const there = await this.occupant(spec);
    if (there) return this.startIfWanted(there, spec.nics);
    refuseAborted(signal);
    // What can be refused is, before anything is made.
    const machine = machineFor(wishOf(spec));
    const nics = await this.plan(spec.nics, machine.nic);
    const profile = await this.parts.policies.find(machine.policy);
    let guest: Guest | null = null;
    try {
      const plans = await disks.plansFor(spec, signal);
      await host.assertFits(spec.flavor.memory, plannedBytes(plans));
      refuseAborted(signal);
      guest = await this.create(spec, machine, profile);
      refuseAborted(signal);
      const made = await disks.make(guest, plans, spec.configDrive, signal);
      guest = made.guest;
      await this.forgetSources(spec);
      const devices = await disks.devices(guest);
      const state: GuestState = {
        ...guest.state,
        ...{ disks: made.disks.map(({ role, unit }) => ({ role, unit })), config: made.config, nics: portsOf(nics) },
        ...{ phase: 'settled', start: spec.powerOn ? 'spawn' : null, scratch: [] },
      };
      guest = await guests.write(guest, state, {
        deviceChange: [
          ...exchangeLocal(devices, { disks: [], config: null }, made),
          ...nics.map(addNic),
          addSerialPort(consoleFile(guest.vm.file)),
        ],
      });
      refuseAborted(signal);
      if (!spec.powerOn) return;
      await power.start(guest.vm.ref);
      await this.settle(guest);
    } catch (error) {
      const changed = guest?.vm.ref ?? guests.place.folder;
      await updates.outlast(error, (entity) => entity?.is(changed) ?? false);
      // Of a VM that was made, the answer may be lost.
      for (const each of guest ? [guest] : await guests.halfMade(spec.mark)) await this.remove(each);
      await this.forgetSources(spec);
      throw error;
    }
  }

  /** Before the guest is whole, so that whoever finds it whole has none to look for. */
  private async forgetSources({ disks: { root, ephemeral }, mark }: GuestSpec): Promise<void> {
    const isPrivate = [root.source, ephemeral?.source].some((source) => source?.isPrivate);
    if (isPrivate) await this.parts.disks.forgetSources(mark.serverId);
  }

  /** Removes the guest, as far as there is one, and what its spawn brought for it alone and was cut off. */
  async discard(id: ServerId, guest: Guest | null): Promise<void> {
    await this.remove(guest);
    if (!guest || guest.state.phase === 'building') await this.parts.disks.forgetSources(id);
  }

  /**
   * The guest of this very mark, if it is there. Clears away what a spawn left behind that was cut off. Other hosts of this
   * vCenter may have older attempts of the server.
   */
  private async occupant({ mark }: GuestSpec): Promise<Guest | null> {
    const { guests, cloudId } = this.parts;
    const { serverId } = mark;
    if (mark.cloudId !== cloudId) throw new HypervisorError('fault', 'the guest is one of another cloud');
    const here: Guest[] = [];
    for (const { vm, state } of await guests.marked()) {
      if (state === 'unreadable' || state.serverId !== serverId) continue;
      if (state.cloudId !== cloudId)
        throw new HypervisorError('fault', `a guest of another cloud has the place of server ${serverId}`);
      const isHere: boolean = guests.isOurs(state);
      if (isHere) here.push({ vm, state });
      else if (state.attempt >= mark.attempt)
        throw new HypervisorError('fault', `this or a newer attempt of server ${serverId} is on another host`);
      else if (vm.power === 'running')
        throw new HypervisorError('fault', `an older attempt of server ${serverId} runs on another host`);
    }
    for (const { state } of here)
      if (state.attempt !== mark.attempt || state.build !== mark.build)
        throw new HypervisorError('fault', `another attempt or build of server ${serverId} is on this host`);
    const whole = here.find(({ state }) => state.phase !== 'building');
    if (!whole) for (const guest of here) await this.remove(guest);
    return whole ?? null;
  }

  /** @param type of cards of ports that do not say theirs */
  async plan(nics: readonly GuestNic[], type: string): Promise<PlannedNic[]> {
    refuseTooMany(nics);
    return this.parts.networks.plan(nics, type);
  }

  private async create(
    spec: GuestSpec,
    machine: Machine,
    profile: readonly ArgumentObject[] | undefined,
  ): Promise<Guest> {
    const { updates, guests, host } = this.parts;
    const { place } = guests;
    const state: GuestState = {
      ...newState(spec.mark, place.id, { vcpus: spec.flavor.vcpus, memoryMib: spec.flavor.memory }),
      wishes: hardwareWishesOf(spec.image, spec.flavor),
    };
    const ref = (await updates.run(place.folder, 'CreateVM_Task', {
      config: {
        ...machine.config,
        name: nameOf(spec),
        uuid: smbiosUuid(spec),
        annotation: `Server ${spec.mark.serverId} of Omnivisor`,
        files: { vmPathName: `[${place.datastore.name}]` },
        vmProfile: profile,
        deviceChange: [addController(machine.controller)],
        extraConfig: [
          extraConfig(STATE_KEY, JSON.stringify(state)),
          // A guest that starts again goes on writing behind what its console said before.
          extraConfig('answer.msg.serial.file.open', 'Append'),
          extraConfig('disk.EnableUUID', 'TRUE'),
        ],
      },
      pool: place.pool,
      host: await host.memberForGuest(),
    })) as Ref;
    const guest = await guests.at(ref);
    if (!guest) throw new HypervisorError('fault', 'the guest was removed while it was made');
    return guest;
  }

  /** Removes the guest with its own disks. Those that outlive it are taken off first: a VM takes along what it has. */
  private async remove(guest: Guest | null): Promise<void> {
    if (!guest) return;
    const { power, disks, guests, updates } = this.parts;
    const { state, vm } = guest;
    try {
      await power.cut(vm.ref);
      const devices = await disks.devices(guest);
      const kept = state.volumes.flatMap(({ unit }) => removeDisk(devices, unit));
      const bare =
        kept.length === 0 ? guest : await guests.write(guest, { ...state, volumes: [] }, { deviceChange: kept });
      // Files that no device has would stay, and nothing would tell whose they were.
      const attached = attachedFiles(devices);
      await disks.discard([
        ...looseFiles(bare.state).filter((path) => !attached.has(path)),
        ...(state.config === null ? [] : [state.config]),
        ...[consoleFile(vm.file)].filter((path) => attached.has(path)),
      ]);
      await updates.run(vm.ref, 'Destroy_Task', {}, { limit: LONG_TASK_LIMIT });
    } catch (error) {
      if (!isFault(error, 'ManagedObjectNotFound')) throw error;
    }
  }

  /** Starts a guest that is off, as its state says. */
  async start(guest: Guest, nics: readonly GuestNic[], signal?: AbortSignal): Promise<void> {
    const { power, guests, consoles } = this.parts;
    const { vm } = await guests.again(guest);
    if (vm.power === 'running') return;
    if (vm.power === 'suspended')
      throw new HypervisorError('fault', 'a suspended guest is resumed, not started: its memory would be lost');
    const settled = await this.arrange(guest, nics, { start: null });
    await consoles.renew(settled);
    refuseAborted(signal);
    await power.start(settled.vm.ref);
  }

  /**
   * A suspended VM cannot be reconfigured: one with a card whose port cannot be guarded stays suspended, and what was cut off
   * is connected once it runs.
   */
  async resume(guest: Guest, nics: readonly GuestNic[]): Promise<void> {
    const { power, disks, networks, guests } = this.parts;
    const { vm, state } = guest;
    if (vm.power !== 'suspended') return power.resume(vm.ref);
    const devices = await disks.devices(guest);
    for (const nic of nics) {
      const card = nicAt(devices, nic.mac);
      if (card) await networks.refuseOpen(nic, card);
    }
    await power.resume(vm.ref);
    const back = vm.cutOff.filter((mac) => nics.some((nic) => sameMac(nic.mac, mac)));
    if (back.length === 0) return;
    const deviceChange = connectNics(devices, back, 'running');
    const cutOff = vm.cutOff.filter((mac) => !back.includes(mac));
    await guests.write(guest, state, { deviceChange }, cutOff);
  }

  /** Gives a guest that is off exactly these ports, and writes what changes with them, at one moment. */
  async arrange(guest: Guest, nics: readonly GuestNic[], change: Partial<GuestState>): Promise<Guest> {
    const { disks, guests } = this.parts;
    const { firmware, wishes } = guest.state;
    const planned = await this.plan(nics, cardOf(wishes));
    const devices = await disks.devices(guest);
    const deviceChange = arrangeNics(devices, guest, planned);
    const place = guests.place.own(guest.state.place);
    const state = { ...guest.state, place, firmware: null, ...change, nics: portsOf(planned) };
    if (deviceChange.length === 0 && JSON.stringify(state) === JSON.stringify(guest.state)) return guest;
    return guests.write(guest, state, { deviceChange, firmware }, []);
  }

  /** Somebody has decided about its power: what was cut off is not made up for any more. */
  async settle(guest: Guest): Promise<Guest> {
    const { guests } = this.parts;
    return guest.state.start === null ? guest : guests.write(guest, { ...guest.state, start: null });
  }

  /** Ends what was cut off before the guest was started. */
  async startIfWanted(guest: Guest, nics: readonly GuestNic[]): Promise<void> {
    const { power, consoles } = this.parts;
    if (guest.state.start === null) return;
    const isOff = (await power.state(guest.vm.ref)) === 'shutdown';
    const ready = isOff ? await this.arrange(guest, nics, {}) : guest;
    if (isOff) await consoles.renew(ready);
    if (ready.vm.power !== 'suspended') await power.start(ready.vm.ref);
    await this.settle(ready);
  }
}

const attachedFiles = (devices: readonly Device[]): ReadonlySet<string> =>
  new Set(
    devices.flatMap(({ backing }) => ((backing as { fileName?: string } | undefined)?.fileName ?? []) as string[]),
  );

/** Files of a guest that its devices do not have, or may not have. */
const looseFiles = ({ scratch, own, before }: GuestState): string[] => [
  ...scratch,
  ...[...(own?.disks ?? []), ...(before?.disks ?? [])].map(({ path }) => path),
  ...(own?.config ? [own.config] : []),
];
