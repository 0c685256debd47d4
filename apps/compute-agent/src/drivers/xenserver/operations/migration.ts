import { randomUUID } from 'node:crypto';
import type { ServerId } from '@omnivisor/contracts';
import type { z } from 'zod';
import { told } from '../../common/migration/told.js';
import { type GuestSpec, HypervisorError, type MigrationReach, type ReceiveOptions } from '../../hypervisor-driver.js';
import { xapiCode } from '../transport/xapi-error.js';
import type { XapiSession } from '../transport/xapi-session.js';
import { refuseAborted } from './aborted.js';
import type { Devices } from './devices.js';
import { type GuestState, type LocalDisk, newState } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import { type Host, pluggedInto } from './host.js';
import type { LocalDisks } from './local-disks.js';
import type { Making } from './making.js';
import { Offer, type Ticket } from './migration-ticket.js';
import type { Place } from './place.js';
import type { Power } from './power.js';
import type { Ref, SrRecord } from './records.js';
import type { Sending } from './sending.js';
import { makeShell, openDestination } from './shell.js';
import { configDriveFrom, type Storage } from './storage.js';

/**
 * Live migration. Within a pool the VM stays one object, which says in its state where it is expected. To another pool it
 * goes as a whole, and a shell that never runs keeps its place: there until it has come, here until it is forgotten.
 */
export class Migration {
  constructor(
    private readonly xapi: XapiSession,
    private readonly guests: Guests,
    private readonly place: Place,
    private readonly devices: Devices,
    private readonly storage: Storage,
    private readonly disks: LocalDisks,
    private readonly power: Power,
    private readonly making: Making,
    private readonly sending: Sending,
    private readonly host: Host,
  ) {}

  /** Guests also go to other pools, with copies of their disks. */
  async reach(): Promise<MigrationReach> {
    const all = await this.xapi.call<Record<Ref, SrRecord>>('SR.get_all_records');
    const plugged = await pluggedInto(this.xapi, this.place.hosts);
    const shared = Object.entries(all).filter(([ref, sr]) => sr.shared && plugged.has(ref));
    const own = all[await this.storage.repository()];
    return {
      storage: own?.shared ? own.uuid : null,
      sees: shared.map(([, { uuid }]) => uuid),
      ...{ realm: null, pool: null },
    };
  }

  async offer(guest: Guest): Promise<string> {
    const { state, record } = guest;
    if (this.guests.view(guest).stage !== 'settled' || record.power_state !== 'Running')
      throw new HypervisorError('fault', 'only a guest that runs can move while it runs');
    const offer: z.infer<typeof Offer> = {
      kind: 'xapi',
      pool: this.place.pool.uuid,
      vm: record.uuid,
      serverId: state.serverId,
      ...state.size,
    };
    return JSON.stringify(offer);
  }

  async receive(spec: GuestSpec, text: string, options: ReceiveOptions, signal: AbortSignal): Promise<string> {
    const offer = told(Offer, text, 'this is no offer of a XenServer pool');
    const { flavor, mark } = spec;
    if (offer.serverId !== mark.serverId || offer.vcpus !== flavor.vcpus || offer.memoryMib !== flavor.memory)
      throw new HypervisorError('fault', 'the guest that is offered is not the one that is expected');
    const repository = await this.storage.repository();
    const ticket = { nonce: randomUUID(), repository };
    return JSON.stringify(
      offer.pool === this.place.pool.uuid
        ? await this.invite(spec, offer.vm, ticket, options, signal)
        : await this.openShell(spec, ticket, options, signal),
    );
  }

  private async invite(
    spec: GuestSpec,
    vm: string | undefined,
    ticket: Pick<Ticket, 'nonce' | 'repository'>,
    { disks }: ReceiveOptions,
    signal: AbortSignal,
  ): Promise<Ticket> {
    const { member } = this.place;
    const whole = await this.whole(spec.mark);
    const found = vm === undefined ? newest(whole) : whole.find(({ record }) => record.uuid === vm);
    if (!found || !member) throw new HypervisorError('fault', 'the guest is in this pool already');
    // The one that is offered, or what a move has left here.
    if (whole.some(({ state }) => this.place.is(state.place)))
      throw new HypervisorError('fault', 'the guest is on this host already');
    const { losesConfig } = await this.sending.plan(found, member.ref, ticket.repository);
    try {
      await this.xapi.call('VM.assert_can_boot_here', found.ref, member.ref);
    } catch (error) {
      // Storage that this member does not see is what is to be copied.
      if (disks === 'shared' || xapiCode(error) !== 'VM_REQUIRES_SR') throw error;
    }
    const config = losesConfig ? await this.configDrive(found, spec, signal) : null;
    const invited = { place: this.place.uuid, nonce: ticket.nonce, attempt: spec.mark.attempt, config };
    await this.guests.write(found, { ...found.state, invited });
    await this.disks.discard(configOf(found.state));
    return { kind: 'pool', ...ticket, place: this.place.uuid, host: member.record.uuid };
  }

  /** A CD does not come along with its guest. */
  private async configDrive(guest: Guest, { configDrive }: GuestSpec, signal: AbortSignal): Promise<LocalDisk | null> {
    return configDrive && this.disks.make(guest, configDriveFrom(configDrive), signal);
  }

  /** The server's VMs that are no shells, wherever in the pool their places are. */
  private async whole({ serverId, cloudId }: Pick<GuestState, 'serverId' | 'cloudId'>): Promise<Guest[]> {
    return (await this.guests.ofServer(serverId)).filter(
      ({ state }) => state.cloudId === cloudId && state.phase !== 'shell',
    );
  }

  /** What has come from another pool in a shell's place: it says still whose it was there, which nobody of this pool is. */
  private async comeFor({ state }: Guest): Promise<Guest | undefined> {
    const hosts = await this.xapi.call<Record<Ref, { readonly uuid: string }>>('host.get_all_records');
    const places = new Set([this.place.pool.uuid, ...Object.values(hosts).map(({ uuid }) => uuid)]);
    return newest((await this.whole(state)).filter((guest) => !places.has(guest.state.place)));
  }

  private async openShell(
    spec: GuestSpec,
    ticket: Pick<Ticket, 'nonce' | 'repository'>,
    { disks, attached }: ReceiveOptions,
    signal: AbortSignal,
  ): Promise<Ticket> {
    if (disks === 'shared' || attached.length > 0)
      throw new HypervisorError('unsupported', 'two pools have no storage in common');
    const planned = await this.devices.plan(spec.nics);
    const id = spec.mark.serverId;
    const before = await this.guests.find(id);
    if (before && before.state.phase !== 'shell')
      throw new HypervisorError('fault', 'the guest is on this host already');
    const host = await this.host.roomFor(spec.flavor.memory, ticket.repository);
    const dest = await openDestination(this.xapi, host);
    refuseAborted(signal);
    const size = { vcpus: spec.flavor.vcpus, memoryMib: spec.flavor.memory };
    const invited = { place: this.place.uuid, nonce: ticket.nonce, attempt: spec.mark.attempt, config: null };
    const state: GuestState = { ...newState(spec.mark, '', size), phase: 'shell', invited };
    const shell = before ?? (await this.shell(spec, state));
    const config = await this.configDrive(shell, spec, signal);
    await this.guests.write(shell, { ...state, invited: { ...invited, config } });
    if (before) await this.disks.discard(configOf(before.state));
    const networks = Object.fromEntries(planned.map(({ nic, network: there }) => [nic.portId, there]));
    return { kind: 'remote', ...ticket, dest, networks };
  }

  private async shell({ name }: GuestSpec, state: GuestState): Promise<Guest> {
    const guest = await this.guests.at(await makeShell(this.xapi, name, state));
    if (!guest) throw new HypervisorError('fault', 'the shell was removed while it was made');
    return guest;
  }

  /** The guest has come: from now on it is this place's, under the mark that it was let in with. */
  async accept(id: ServerId): Promise<void> {
    const guest = await this.guests.get(id);
    const { state } = guest;
    if (this.place.is(state.place) && !state.invited) {
      await this.removeShells(id);
      return this.devices.insertConfig(guest);
    }
    const shell = state.phase === 'shell' ? guest : null;
    const come = shell ? await this.comeFor(shell) : guest;
    if (!come || !state.invited || !this.hasCome(come))
      throw new HypervisorError('fault', 'the guest has not come yet');
    const { attempt, config } = state.invited;
    const disks = await this.arrived(come, config);
    const isForgotten = shell !== null || this.place.is(come.state.place);
    const movedFrom = isForgotten ? null : { place: come.state.place, attempt: come.state.attempt };
    const ours = { ...come.state, attempt, disks, place: this.place.uuid, invited: null, movedFrom };
    const settled = await this.guests.write(come, ours);
    if (shell) await this.xapi.run('VM.destroy', [shell.ref]);
    else await this.disks.discard(come.state.disks.filter(({ vdi }) => !disks.some((disk) => disk.vdi === vdi)));
    await this.devices.insertConfig(settled);
  }

  /** Disks that were copied are others than before, at the places of the old, and without a mark. */
  private async arrived(come: Guest, config: LocalDisk | null): Promise<LocalDisk[]> {
    const { disks } = come.state;
    const there = await this.devices.localVdis(come);
    const found: LocalDisk[] = [];
    for (const disk of disks) {
      const vdi = there.get(disk.device);
      if (vdi !== undefined) {
        const uuid = await this.xapi.call<string>('VDI.get_uuid', vdi);
        if (uuid !== disk.vdi) await this.storage.claim(vdi, come, disk.role);
        found.push({ ...disk, vdi: uuid });
      } else if (disk.role !== 'config')
        throw new HypervisorError('fault', `the guest has come without its ${disk.role} disk`);
    }
    if (!config || found.some(({ role }) => role === 'config')) return found;
    // It was made for the shell, where there is one.
    await this.storage.claim(await this.storage.ref(config.vdi), come, config.role);
    return [...found, config];
  }

  async cancel(guest: Guest): Promise<void> {
    const { state } = guest;
    if (state.phase === 'shell') {
      if (this.guests.view(guest).stage !== 'incoming') return;
      const come = await this.comeFor(guest);
      if (come && this.hasCome(come)) throw new HypervisorError('fault', 'the guest runs on this host');
      await this.xapi.run('VM.destroy', [guest.ref]);
    } else {
      const expected = state.invited && this.place.is(state.invited.place) && !this.place.is(state.place);
      if (!expected || this.hasCome(guest)) throw new HypervisorError('fault', 'the guest runs on this host');
      await this.guests.write(guest, { ...state, invited: null });
    }
    await this.disks.discard(configOf(state));
  }

  /** What has come in a shell's place and was not accepted: nobody else removes it. */
  async dropArrived(guest: Guest): Promise<void> {
    const come = guest.state.phase === 'shell' ? await this.comeFor(guest) : undefined;
    if (come) await this.making.remove({ ...come, state: { ...come.state, invited: guest.state.invited } });
  }

  /** Ends a move that is under way, unless it is the pool's own, and makes sure that the guest runs here. */
  async recover(guest: Guest): Promise<void> {
    await this.host.refuseEmptying(guest.record.resident_on);
    for (const [task, operation] of Object.entries(guest.record.current_operations))
      if (operation === 'pool_migrate' || operation === 'migrate_send') await this.xapi.end(task);
    // Where the guest is then, its VM tells.
    const after = await this.guests.get(guest.state.serverId);
    if (this.guests.view(after).stage === 'moved')
      throw new HypervisorError('fault', 'the guest has moved to another host');
    await this.removeShells(guest.state.serverId);
    if ((await this.power.state(after.ref)) !== 'Running') await this.power.start(after.ref);
    await this.devices.insertConfig(after);
  }

  /** They have kept the place of a guest that is here. */
  private async removeShells(id: ServerId): Promise<void> {
    for (const guest of await this.guests.ofServer(id))
      if (guest.state.phase === 'shell' && this.guests.isExpectedOrHere(guest))
        await this.xapi.run('VM.destroy', [guest.ref]);
  }

  /** What is left here of a guest that has moved. */
  async forget(guest: Guest): Promise<void> {
    const { state } = guest;
    if (state.phase === 'shell') {
      await this.xapi.run('VM.destroy', [guest.ref]).catch((error: unknown) => {
        if (xapiCode(error) !== 'HANDLE_INVALID') throw error;
      });
      // The CD that did not go along.
      await this.disks.removeStrays(state.serverId);
    } else if (this.place.is(state.place) && state.invited && this.guests.view(guest).stage === 'moved')
      await this.guests.write(guest, { ...state, place: state.invited.place, attempt: state.invited.attempt });
    else await this.guests.write(guest, { ...state, movedFrom: null });
  }

  /** True while a guest that is expected here is the VM of another member. A shell is nobody else's. */
  isElsewhere(guest: Guest): boolean {
    return guest.state.phase !== 'shell' && !this.hasCome(guest);
  }

  private hasCome({ record: { resident_on }, state: { invited } }: Guest): boolean {
    return this.place.hosts.includes(resident_on) || (invited?.sent === true && this.place.is(invited.place));
  }
}

const newest = (guests: readonly Guest[]): Guest | undefined =>
  guests.reduce<Guest | undefined>(
    (best, guest) => (best && best.state.attempt >= guest.state.attempt ? best : guest),
    undefined,
  );

/** The config drive that was made for where the guest is expected. */
const configOf = ({ invited }: GuestState): LocalDisk[] => (invited?.config ? [invited.config] : []);
