import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { ServerId } from '@omnivisor/contracts';
import { dial, join, rendezvous, type Way } from '../../common/migration/relay.js';
import { bootId, type Ticket } from '../../common/migration/ticket.js';
import { HypervisorError, type MigrationProgress } from '../../hypervisor-driver.js';
import type { GuestDefinition } from '../definition.js';
import { giveDescriptors, type QmpCommand } from '../descriptors.js';
import { FILES } from '../files.js';
import type { QemuHost } from '../qemu-host.js';
import type { QmpClient } from '../qmp-client.js';
import { endJob, findJob, jobConcluded, jobReady, nextEvent } from '../qmp-jobs.js';
import { dropNode } from '../qmp-queries.js';
import { capabilities } from './target.js';

export interface SendOptions {
  readonly onProgress?: (progress: MigrationProgress) => void;
  readonly signal: AbortSignal;
  readonly force?: AbortSignal;
  readonly address?: string;
}

interface MigrationInfo {
  readonly status?: string;
  readonly ram?: { readonly total: number; readonly remaining: number };
  readonly 'error-desc'?: string;
}

/** Milliseconds; how long the guest may stand still for the last of its memory. */
const DOWNTIME = 300;
const PROGRESS = 200;
const SPEED = 2 ** 40;

const mirrorOf = (name: string) => `mirror-${name}`;

/** One guest on its way to another host. */
export class Sending {
  private readonly sockets: Socket[] = [];
  private readonly ways: Way[] = [];

  constructor(
    private readonly host: QemuHost,
    private readonly guest: GuestDefinition,
    private readonly ticket: Ticket,
    private readonly options: SendOptions,
  ) {}

  private get id(): ServerId {
    return this.guest.mark.serverId;
  }

  /** Until the target has its memory and the guest stands still here; it goes on here when this rejects. */
  async transfer(): Promise<void> {
    const qmp = await this.host.qmp(this.guest);
    const { signal, force } = this.options;
    if (signal.aborted) throw new HypervisorError('fault', 'the migration was aborted');
    await cleanUp(qmp, this.guest);
    const ended = new AbortController();
    // QEMU itself may be held up by the other side then, and say nothing more.
    const unlisten = qmp.onEvent(({ event }) => {
      if (event === 'STOP') for (const way of this.ways) way.setSilence(this.host.migrationStandstill);
    });
    const cancel = () => void this.cancel(qmp);
    signal.addEventListener('abort', cancel, { once: true });
    // A guest that stands still changes nothing: what is left to send has an end. It goes on where it comes to.
    let stopping = Promise.resolve();
    const stop = () => {
      stopping = qmp.call('stop').then(
        () => undefined,
        () => undefined,
      );
    };
    if (force?.aborted) stop();
    else force?.addEventListener('abort', stop, { once: true });
    try {
      if (this.ticket.disks === 'copied') for (const { name } of this.guest.disks) await this.mirror(qmp, name);
      await this.moveMemory(qmp, ended.signal);
    } catch (error) {
      this.close();
      force?.removeEventListener('abort', stop);
      await stopping;
      await runHere(qmp, this.guest);
      if (signal.aborted) throw new HypervisorError('fault', 'the migration was aborted');
      throw error;
    } finally {
      signal.removeEventListener('abort', cancel);
      force?.removeEventListener('abort', stop);
      unlisten();
      ended.abort();
    }
  }

  /**
   * Tells the target that the guest is its own now.
   * @throws HypervisorError `unavailable` when it does not say in time that the guest runs there
   */
  async handOver(): Promise<void> {
    const control = await this.dial('control');
    await new Promise<void>((resolve, reject) => {
      let said = '';
      control.on('data', (data: Buffer) => {
        said += data.toString('latin1');
      });
      control.setTimeout(this.host.migrationStandstill, () => control.destroy());
      control.once('error', reject);
      control.once('close', () =>
        said === 'running\n'
          ? resolve()
          : reject(new HypervisorError('unavailable', 'the other host has not started the guest')),
      );
    });
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  private async dial(channel: string): Promise<Socket> {
    const { endpoints, machine, key } = this.ticket;
    const socket = await dial(endpoints, machine === bootId(), key, channel);
    this.sockets.push(socket);
    return socket;
  }

  /** Gives QEMU one end of a channel, with the command that uses it as `item0`. */
  private async connect(channel: string, command: QmpCommand): Promise<Way> {
    const { connected, close } = await rendezvous(this.host.store.path(this.id, FILES.outgoing));
    try {
      const remote = await this.dial(channel);
      const joined = connected.then((local) => {
        this.sockets.push(local);
        const way = join(local, remote, this.host.migrationSilence);
        this.ways.push(way);
        return way;
      });
      await giveDescriptors(this.host.store.path(this.id), [{ kind: 'connect', path: FILES.outgoing }], [command]);
      return await joined;
    } finally {
      close();
    }
  }

  /** Copies a disk, and from then on whatever is written to it. */
  private async mirror(qmp: QmpClient, name: string): Promise<void> {
    const target = { driver: 'nbd', 'node-name': mirrorOf(name), server: { type: 'fd', str: 'item0' }, export: name };
    const way = await this.connect(`disk ${name}`, { execute: 'blockdev-add', arguments: target });
    const job = mirrorOf(name);
    const ready = jobReady(qmp, job);
    ready.catch(() => undefined);
    await qmp.call('blockdev-mirror', {
      'job-id': job,
      device: name,
      target: job,
      sync: 'full',
      'auto-dismiss': false,
    });
    await ready;
    const found = await findJob(qmp, job);
    if (found?.status !== 'ready')
      throw new HypervisorError('fault', 'a disk of the guest could not be copied', found?.error);
    // A guest that writes nothing has nothing to send.
    way.mayRest();
  }

  private async moveMemory(qmp: QmpClient, ended: AbortSignal): Promise<void> {
    await qmp.call('migrate-set-capabilities', {
      capabilities: capabilities(['events', 'return-path', 'pause-before-switchover']),
    });
    await qmp.call('migrate-set-parameters', { 'downtime-limit': DOWNTIME, 'max-bandwidth': SPEED });
    const reaches = (states: readonly string[]) =>
      nextEvent(qmp, ({ event, data }) => event === 'MIGRATION' && states.includes(String(data?.status)));
    const switchover = reaches(['pre-switchover', 'failed', 'cancelled']);
    const completed = reaches(['completed', 'failed', 'cancelled']);
    for (const promise of [switchover, completed]) promise.catch(() => undefined);
    await this.connect('memory', { execute: 'migrate', arguments: { uri: 'fd:item0' } });
    void this.report(qmp, ended);
    if ((await switchover).data?.status === 'pre-switchover') {
      // The guest stands still: what was mirrored is all there is.
      const { migrationStandstill } = this.host;
      for (const { name } of this.guest.disks) await dropMirror(qmp, name, false, migrationStandstill);
      await qmp.call('migrate-continue', { state: 'pre-switchover' });
      await Promise.race([completed, delay(migrationStandstill, undefined, { signal: ended }).catch(() => undefined)]);
    } else await completed;
    const info = await qmp.call<MigrationInfo>('query-migrate');
    if (info.status !== 'completed')
      throw new HypervisorError('fault', 'the guest could not be moved', info['error-desc'] ?? info.status);
  }

  private async report(qmp: QmpClient, ended: AbortSignal): Promise<void> {
    const { onProgress } = this.options;
    while (onProgress && !ended.aborted) {
      const { ram } = await qmp.call<MigrationInfo>('query-migrate').catch((): MigrationInfo => ({}));
      if (ram && !ended.aborted)
        onProgress({ memory: { total: ram.total, remaining: ram.remaining }, disk: this.copied() });
      await new Promise((resolve) => setTimeout(resolve, PROGRESS));
    }
  }

  /** Memory goes when the disks are there. */
  private copied() {
    const total = this.guest.disks.reduce((sum, { size }) => sum + size, 0);
    return { total: this.ticket.disks === 'copied' ? total : 0, remaining: 0 };
  }

  private async cancel(qmp: QmpClient): Promise<void> {
    await qmp.call('migrate_cancel').catch(() => undefined);
    for (const { name } of this.guest.disks)
      await qmp.call('job-cancel', { id: mirrorOf(name) }).catch(() => undefined);
  }
}

/** @param force false: what was copied is kept, as one that is ready then ends with both sides the same */
const dropMirror = async (qmp: QmpClient, name: string, force: boolean, timeout?: number): Promise<void> => {
  const id = mirrorOf(name);
  if (!force && (await findJob(qmp, id))?.status === 'ready') {
    const concluded = jobConcluded(qmp, id, timeout);
    concluded.catch(() => undefined);
    await qmp.call('block-job-cancel', { device: id, force: false });
    await concluded;
    const error = (await findJob(qmp, id))?.error;
    if (error) throw new HypervisorError('fault', 'a disk of the guest could not be copied', error);
  }
  await endJob(qmp, id, timeout);
  await dropNode(qmp, id);
};

/** What a migration before this one has left. */
const cleanUp = async (qmp: QmpClient, guest: GuestDefinition): Promise<void> => {
  for (const { name } of guest.disks) await dropMirror(qmp, name, true);
};

const isOver = (status: string | undefined) =>
  status === undefined || /^(none|completed|failed|cancelled)$/.test(status);

/** Ends what is under way, and lets the guest run. @throws HypervisorError `unavailable` when it does not end */
export const runHere = async (qmp: QmpClient, guest: GuestDefinition): Promise<void> => {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const { status } = await qmp.call<MigrationInfo>('query-migrate');
    if (isOver(status)) break;
    if (Date.now() > deadline) throw new HypervisorError('unavailable', 'the migration does not end');
    await qmp.call('migrate_cancel');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  try {
    await cleanUp(qmp, guest);
  } finally {
    const { status } = await qmp.call<{ status: string }>('query-status');
    if (status !== 'running') await qmp.call('cont');
  }
};

export const isMoved = async (qmp: QmpClient): Promise<boolean> =>
  (await qmp.call<{ status: string }>('query-status')).status === 'postmigrate';
