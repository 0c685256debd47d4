import { randomUUID } from 'node:crypto';
import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { told } from '../../common/migration/told.js';
import {
  type GuestSpec,
  HypervisorError,
  type MigrationProgress,
  type MigrationReach,
} from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import { type Answer, listOf, Ref } from '../transport/soap.js';
import { LONG_TASK_LIMIT, type Updates } from '../transport/updates.js';
import type { Guest, Guests } from './guests.js';
import { cardOf } from './hardware.js';
import type { Host } from './host.js';
import type { Making } from './making.js';
import { type Power, refuseAborted } from './power.js';

const Offer = z.object({
  kind: z.literal('vsphere'),
  vcenter: z.string(),
  serverId: ServerId,
  /** What the guest is on its source; absent from agents of older releases. */
  attempt: z.number().int().positive().optional(),
  vcpus: z.number().int(),
  memoryMib: z.number().int(),
});

const Ticket = z.object({
  kind: z.literal('vsphere'),
  nonce: z.string(),
  place: z.string(),
  host: z.string(),
  pool: z.string(),
});
type Ticket = z.infer<typeof Ticket>;

/** Of a place's id: the UUID of the vCenter. */
const vcenterOf = (place: string): string => place.replace(/\/[^/]*$/, '');

/**
 * Live migration between members or clusters of one vCenter. The VM stays one object, which says in its state where it is
 * expected.
 */
export class Migration {
  constructor(
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly guests: Guests,
    private readonly host: Host,
    private readonly power: Power,
    private readonly making: Making,
  ) {}

  private get place() {
    return this.guests.place;
  }

  /** Disks stay on their datastore. */
  async reach(): Promise<MigrationReach> {
    const vcenter = vcenterOf(this.place.id);
    const nameOf = (datastore: Answer) => `${vcenter}/${(datastore as Ref).value}`;
    const working = await this.host.working(['datastore']);
    const seen = working.flatMap(({ properties }) => listOf(properties.datastore).map(nameOf));
    return {
      ...{ storage: nameOf(this.place.datastore.ref), sees: [...new Set(seen)] },
      ...{ realm: vcenter, pool: null },
    };
  }

  offer(guest: Guest): string {
    const { state, vm } = guest;
    if (this.guests.view(guest).stage !== 'settled' || vm.power !== 'running')
      throw new HypervisorError('fault', 'only a guest that runs can move while it runs');
    const offer: z.infer<typeof Offer> = {
      ...{ kind: 'vsphere', vcenter: vcenterOf(this.place.id), serverId: state.serverId, attempt: state.attempt },
      ...state.size,
    };
    return JSON.stringify(offer);
  }

  async receive(spec: GuestSpec, text: string, signal: AbortSignal): Promise<string> {
    const offer = told(Offer, text, 'this is no offer of a vCenter');
    const { flavor, mark } = spec;
    if (offer.serverId !== mark.serverId || offer.vcpus !== flavor.vcpus || offer.memoryMib !== flavor.memory)
      throw new HypervisorError('fault', 'the guest that is offered is not the one that is expected');
    if (offer.vcenter !== vcenterOf(this.place.id))
      throw new HypervisorError('unsupported', 'guests move within one vCenter only');
    const found = await this.offered(spec, offer);
    await this.making.plan(spec.nics, cardOf(found.state.wishes));
    await this.host.assertFits(flavor.memory, 0);
    const target = await this.target(found);
    refuseAborted(signal);
    const ticket: Ticket = {
      ...{ kind: 'vsphere', nonce: randomUUID(), place: this.place.id },
      ...{ host: target.value, pool: this.place.pool.value },
    };
    const hosts = this.place.hosts.map(({ ref }) => ref.value);
    const invited = { place: ticket.place, nonce: ticket.nonce, attempt: mark.attempt, hosts };
    await this.guests.write(found, { ...found.state, invited });
    return JSON.stringify(ticket);
  }

  /** The VM that is offered, on whatever host of the vCenter. What cold moves have kept may lie on others. */
  private async offered({ mark }: GuestSpec, { attempt }: z.infer<typeof Offer>): Promise<Guest> {
    const all = (await this.guests.marked()).filter(
      (each): each is Guest =>
        each.state !== 'unreadable' && each.state.serverId === mark.serverId && each.state.cloudId === mark.cloudId,
    );
    const attempts = all.map(({ state }) => state.attempt);
    const found = all.find(({ state }) => state.attempt === (attempt ?? Math.max(...attempts)));
    if (!found) throw new HypervisorError('fault', 'the vCenter does not have the guest that is offered');
    if (all.some(({ state }) => this.place.is(state.place)))
      throw new HypervisorError('fault', 'a guest of the server is on this host already');
    return found;
  }

  /** A member that takes the guest, and sees the storage that it lies on: disks and the config drive stay there. */
  private async target({ vm }: Guest): Promise<Ref> {
    return this.host.memberWith(listOf(await this.read.one(vm.ref, 'datastore')) as Ref[]);
  }

  async send(
    guest: Guest,
    text: string,
    options: { readonly signal: AbortSignal; readonly onProgress?: (progress: MigrationProgress) => void },
  ): Promise<void> {
    const ticket = told(Ticket, text, 'this is no ticket of a vCenter');
    if (this.guests.view(guest).stage === 'moved') return;
    refuseAborted(options.signal);
    const { invited, size } = guest.state;
    if (invited?.nonce !== ticket.nonce || invited.place !== ticket.place)
      throw new HypervisorError('fault', 'the ticket is not the newest one');
    const memory = size.memoryMib * 2 ** 20;
    const onProgress = (percent: number) =>
      options.onProgress?.({
        memory: { total: memory, remaining: Math.round(memory * (1 - percent / 100)) },
        disk: { total: 0, remaining: 0 },
      });
    const spec = { host: new Ref('HostSystem', ticket.host), pool: new Ref('ResourcePool', ticket.pool) };
    try {
      const { signal } = options;
      await this.updates.run(
        guest.vm.ref,
        'RelocateVM_Task',
        { spec, priority: 'defaultPriority' },
        { signal, limit: LONG_TASK_LIMIT, onProgress },
      );
    } catch (error) {
      // An abort may come too late; where the guest runs is what counts.
      if (this.guests.view(await this.guests.again(guest)).stage !== 'moved') throw error;
    }
  }

  /** The guest has come: from now on it is this place's, under the mark that it was let in with. */
  async accept(guest: Guest): Promise<void> {
    const { state } = guest;
    const { place, attempt, invited } = state;
    if (this.place.is(place) && !invited) return;
    if (!invited || !this.hasCome(guest)) throw new HypervisorError('fault', 'the guest has not come yet');
    const movedFrom = { place, attempt };
    await this.guests.write(guest, {
      ...{ ...state, invited: null, movedFrom },
      ...{ place: this.place.id, attempt: invited.attempt },
    });
  }

  async cancel(guest: Guest | null): Promise<void> {
    if (!guest) return;
    if (this.guests.view(guest).stage !== 'incoming' || this.hasCome(guest))
      throw new HypervisorError('fault', 'the guest runs on this host');
    await this.guests.writeUnchanged(guest, { ...guest.state, invited: null });
  }

  /** Ends a move that is under way, unless it is the vCenter's own, and makes sure that the guest runs here. */
  async recover(guest: Guest): Promise<void> {
    await this.host.refuseEmptying(guest.vm.host);
    await this.cancelMoves(guest);
    const after = await this.guests.again(guest);
    if (this.guests.view(after).stage === 'moved')
      throw new HypervisorError('fault', 'the guest has moved to another host');
    const own = after.state.invited ? await this.guests.write(after, { ...after.state, invited: null }) : after;
    if ((await this.power.state(own.vm.ref)) !== 'running') await this.power.start(own.vm.ref);
  }

  private async cancelMoves({ vm }: Guest): Promise<void> {
    const tasks = listOf(await this.read.one(vm.ref, 'recentTask')) as Ref[];
    for (const task of tasks) await this.updates.cancel(task, (name) => /relocate|migrate/i.test(name));
  }

  /** What is left here of a guest that has moved. */
  async forget(guest: Guest): Promise<void> {
    const { state } = guest;
    await this.guests.writeUnchanged(
      guest,
      this.place.is(state.place) && state.invited
        ? { ...state, place: state.invited.place, attempt: state.invited.attempt, invited: null }
        : { ...state, movedFrom: null },
    );
  }

  hasCome({ vm }: Guest): boolean {
    return this.place.isAt(vm.host, this.place.id);
  }
}
