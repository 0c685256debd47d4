import { told } from '../../common/migration/told.js';
import { HypervisorError, type MigrationProgress } from '../../hypervisor-driver.js';
import { LONG_TASK_LIMIT, type XapiSession } from '../transport/xapi-session.js';
import type { Devices } from './devices.js';
import { DISK_KEY, PORT_KEY } from './guest-state.js';
import type { Guest, Guests } from './guests.js';
import { pluggedInto } from './host.js';
import { Ticket } from './migration-ticket.js';
import { NULL_REF, type Ref } from './records.js';
import { makeShell, openDestination } from './shell.js';

/** Where the disks of a guest go. */
export interface DiskPlan {
  /** Repository by disk: XAPI wants every one named, also those that stay where they are. */
  readonly map: Readonly<Record<Ref, Ref>>;
  /** Some are copied. */
  readonly copies: boolean;
  /** A CD is no disk to XAPI: one that cannot stay where it is, is ejected. */
  readonly losesConfig: boolean;
}

/** The source's side of a live migration. */
export class Sending {
  constructor(
    private readonly xapi: XapiSession,
    private readonly guests: Guests,
    private readonly devices: Devices,
  ) {}

  async send(
    guest: Guest,
    text: string,
    {
      signal,
      onProgress,
    }: { readonly signal: AbortSignal; readonly onProgress?: (progress: MigrationProgress) => void },
  ): Promise<void> {
    const ticket = told(Ticket, text, 'this is no ticket of a XenServer pool');
    if (this.guests.view(guest).stage === 'moved') return;
    if (signal.aborted) throw new HypervisorError('fault', 'the migration was aborted');
    const memory = guest.state.size.memoryMib * 2 ** 20;
    const progress = (done: number) =>
      onProgress?.({
        memory: { total: memory, remaining: Math.round(memory * (1 - done)) },
        disk: { total: 0, remaining: 0 },
      });
    const options = { signal, limit: LONG_TASK_LIMIT, onProgress: progress };
    await (ticket.kind === 'pool'
      ? this.sendToMember(guest, ticket, options)
      : this.sendToPool(guest, ticket, options));
  }

  private async sendToMember(
    guest: Guest,
    ticket: Extract<Ticket, { kind: 'pool' }>,
    options: { readonly signal: AbortSignal; readonly limit: number; readonly onProgress: (done: number) => void },
  ): Promise<void> {
    const { invited } = guest.state;
    if (invited?.nonce !== ticket.nonce || invited.place !== ticket.place)
      throw new HypervisorError('fault', 'the ticket is not the newest one');
    const host = await this.xapi.call<Ref>('host.get_by_uuid', ticket.host);
    const { map, copies, losesConfig } = await this.plan(guest, host, ticket.repository);
    try {
      if (!copies && !losesConfig) await this.xapi.run('VM.pool_migrate', [guest.ref, host, { live: 'true' }], options);
      else {
        const dest = await openDestination(this.xapi, host);
        await this.xapi.run('VM.migrate_send', [guest.ref, dest, true, map, {}, {}], options);
      }
    } catch (error) {
      // An abort may come too late; where the guest runs is what counts.
      const after = await this.guests.again(guest);
      if (this.guests.view(after).stage !== 'moved') {
        await this.devices.insertConfig(after);
        throw error;
      }
    }
    const there = await this.guests.again(guest);
    if (there.state.invited?.nonce === ticket.nonce)
      await this.guests.write(there, { ...there.state, invited: { ...there.state.invited, sent: true } });
  }

  /**
   * @param host the member that it goes to; null: a member of another pool, which has no storage of this one
   * @throws HypervisorError when an attached disk would be copied: the copy would be another disk
   */
  async plan({ ref }: Guest, host: Ref | null, repository: Ref): Promise<DiskPlan> {
    const seen = await this.storageOf(host);
    const map: Record<Ref, Ref> = {};
    let [copies, losesConfig] = [false, false];
    for (const { record } of await this.devices.vbds(ref)) {
      if (record.VDI === NULL_REF) continue;
      const lies = await this.xapi.call<Ref>('VDI.get_SR', record.VDI);
      if (seen.has(lies)) map[record.VDI] = lies;
      else if (record.type === 'CD') losesConfig = true;
      else if (record.other_config[DISK_KEY] === undefined) {
        map[record.VDI] = repository;
        copies = true;
      } else
        throw new HypervisorError('unsupported', 'an attached disk lies on storage which the other side does not have');
    }
    return { map, copies, losesConfig };
  }

  private async storageOf(host: Ref | null): Promise<ReadonlySet<Ref>> {
    return host === null ? new Set() : pluggedInto(this.xapi, [host]);
  }

  private async sendToPool(
    guest: Guest,
    { dest, repository, networks }: Extract<Ticket, { kind: 'remote' }>,
    options: { readonly signal: AbortSignal; readonly limit: number; readonly onProgress: (done: number) => void },
  ): Promise<void> {
    const { map } = await this.plan(guest, null, repository);
    const vifs: Record<Ref, string> = {};
    for (const { ref, record } of await this.devices.vifs(guest.ref)) {
      const network = networks[record.other_config[PORT_KEY] ?? ''];
      if (network === undefined) throw new HypervisorError('fault', 'a port of the guest is not let in there');
      vifs[ref] = network;
    }
    const { state, record } = guest;
    const shell = await makeShell(this.xapi, record.name_label, { ...state, phase: 'shell', disks: [] });
    try {
      await this.xapi.run('VM.migrate_send', [guest.ref, dest, true, map, vifs, {}], options);
    } catch (error) {
      if ((await this.guests.at(guest.ref)) === null) return;
      await this.xapi.run('VM.destroy', [shell]);
      await this.devices.insertConfig(guest);
      throw error;
    }
  }
}
