import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Readable, Transform, type Writable } from 'node:stream';
import type { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { dial, IncomingRelay } from '../common/migration/relay.js';
import { bootId, RELAY, readTicket, refuseElsewhere, type Ticket } from '../common/migration/ticket.js';
import { areSame, told } from '../common/migration/told.js';
import {
  type GuestSpec,
  HypervisorError,
  type LiveMigration,
  type MigrationProgress,
  type ReceiveOptions,
} from '../hypervisor-driver.js';
import {
  type AttachedDisk,
  Boot,
  type Definition,
  DOMAIN_TYPES,
  type DomainType,
  FileName,
  filesOf,
  SharedFolder,
} from './definition.js';
import { commandLineOf, refuseAborted } from './disks.js';
import { guarding } from './guard.js';
import type { Guest, Guests } from './guests.js';
import type { ShellProcess } from './host-shell.js';
import type { Plan } from './lifecycle.js';
import { parseFacts, storageAt } from './probe.js';
import { ACCEPT, CANCEL, EXPECT, FACTS, INFO, RECEIVE, RECOVER, SEND } from './scripts.js';
import { disksOf } from './xl-config.js';
import { parseInfo, versionNumber, type XenInfo } from './xl-output.js';

type SendOptions = Parameters<LiveMigration['send']>[2];

/** Milliseconds: the other host may be slow, and a guest large. */
const MOVE_LIMIT = 4 * 3_600_000;
const PROGRESS_EVERY = 200;
const MIB = 1024 ** 2;
/** More than the other host has to say. */
const MOST_ANSWERED = 10_000;

/** What the target has to know of a guest, so that it has the same hardware and disks there. */
const Offer = z.strictObject({
  kind: z.literal('xen'),
  type: z.enum(DOMAIN_TYPES),
  size: z.strictObject({ vcpus: z.number(), memory: z.number() }),
  boot: Boot.omit({ commandLine: true }),
  ephemeral: FileName.nullable(),
  swap: FileName.nullable(),
  config: FileName.nullable(),
  ports: z.array(z.string()),
  disks: z.array(z.strictObject({ diskId: z.string(), device: z.string().regex(/^xvd[e-y]$/) })),
  storage: z.string(),
  folder: SharedFolder,
  /** What it runs on. */
  xen: z.string(),
  flags: z.array(z.string()),
  cpuWords: z.string(),
});
type Offer = z.output<typeof Offer>;

const mismatch = (what: string) => new HypervisorError('fault', `the offer does not fit the server: ${what}`);

/**
 * The guest as this host would have it: what it is by the spec, its disks' names by the offer.
 * @throws HypervisorError `fault` when the offer is not one of this server
 */
export const guestFromOffer = (
  { spec, type, nics }: Plan,
  offer: Offer,
  attached: readonly Omit<AttachedDisk, 'device'>[],
): Definition => {
  const { flavor, disks, directBoot } = spec;
  if (offer.type !== type) throw mismatch('its type');
  if (offer.size.vcpus !== flavor.vcpus || offer.size.memory !== flavor.memory) throw mismatch('its size');
  if ((offer.boot.kernel === null) !== (directBoot === null)) throw mismatch('its kernel');
  if ((offer.boot.ramdisk === null) !== ((directBoot?.ramdisk ?? null) === null)) throw mismatch('its kernel');
  if ((offer.ephemeral === null) !== (disks.ephemeral === null) || (offer.swap === null) !== (disks.swap === 0))
    throw mismatch('its disks');
  if ((offer.config === null) !== (spec.configDrive === null)) throw mismatch('its config drive');
  const ports = nics.map(({ portId }) => portId);
  if (!areSame(offer.ports, ports)) throw mismatch('its ports');
  const [offered, wanted] = [offer.disks, attached].map((all) => all.map(({ diskId }) => diskId));
  if (!areSame(offered!, wanted!)) throw mismatch('its disks');
  if (!offer.folder.startsWith(`${spec.mark.serverId}-`)) throw mismatch('the folder of its disks');
  return {
    ...spec.mark,
    ...{ stage: 'settled', type, shared: offer.folder },
    size: { vcpus: flavor.vcpus, memory: flavor.memory, disk: disks.root.size },
    boot: { ...offer.boot, commandLine: commandLineOf(directBoot) },
    ...{ ephemeral: offer.ephemeral, swap: offer.swap, config: offer.config },
    ...{ rescue: null, before: null, rebuilding: null, adopted: null },
    nics: offer.ports.map((portId) => nics.find((nic) => nic.portId === portId)!),
    disks: offer.disks.map(({ diskId, device }) => ({ ...attached.find((disk) => disk.diskId === diskId)!, device })),
  };
};

/**
 * Dom0 is told by its flags what a paravirtual guest sees too; the others see more, so for them the processor is the same.
 * @throws HypervisorError `unsupported` for a host that lacks what the guest may use
 */
export const refuseLesser = (
  offer: Pick<Offer, 'type' | 'xen' | 'flags' | 'cpuWords'>,
  { version, cpuWords }: Pick<XenInfo, 'version' | 'cpuWords'>,
  flags: readonly string[],
): void => {
  if (versionNumber(version) < versionNumber(offer.xen))
    throw new HypervisorError('unsupported', 'the other host has a newer Xen', `${offer.xen} to ${version}`);
  const missing = offer.flags.filter((flag) => !flags.includes(flag));
  if (missing.length > 0)
    throw new HypervisorError('unsupported', 'the processor lacks what the guest may use', missing.join(' '));
  if (offer.type !== 'pv' && (cpuWords === '' || cpuWords !== offer.cpuWords))
    throw new HypervisorError('unsupported', 'the processor is another', `${offer.cpuWords} to ${cpuWords}`);
};

/** Whether Xen can see what such a domain changes in its memory while it runs. Without the word of an old one: it can. */
export const runsOn = (type: DomainType, { paging }: Pick<XenInfo, 'paging'>): boolean =>
  paging === null || paging.shadow || (type !== 'pv' && paging.hap);

/** Without what a script begins with to find out whether it is heard, which is one byte. */
const withoutFirst = (): Transform => {
  let isFirst = true;
  return new Transform({
    transform(part: Buffer, _encoding, done) {
      done(null, isFirst ? part.subarray(1) : part);
      isFirst = false;
    },
  });
};

const counted = (count: (bytes: number) => void): Transform =>
  new Transform({
    transform(part: Buffer, _encoding, done) {
      count(part.length);
      done(null, part);
    },
  });

interface JoinOptions {
  /** Milliseconds after which a way that carries nothing counts as cut: TCP would take a quarter of an hour to see it. */
  readonly silence: number;
  /** Told of bytes to and from the other side. */
  readonly sent?: (bytes: number) => void;
  readonly received?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

/** @returns its exit code; null when it was ended */
const joined = async (
  child: ShellProcess,
  remote: Socket,
  { silence, sent, received, signal }: JoinOptions,
): Promise<{ code: number | null; complaint: string }> => {
  let complaint = '';
  child.stderr.on('data', (bytes: Buffer) => {
    complaint = (complaint + bytes.toString()).slice(-MOST_ANSWERED);
  });
  const ended = new Promise<number | null>((resolve) => {
    child.once('error', () => resolve(null)).once('exit', resolve);
  });
  // A tool that waits for the other side has to see that there is none any more; what holds the guest's lock goes on.
  const part = () => {
    remote.destroy();
    for (const pipe of [child.stdin, child.stdout]) pipe.destroy();
    child.kill();
  };
  const through = (from: Readable, steps: readonly Transform[], to: Writable) => {
    let last: Readable = from;
    for (const step of steps) {
      step.on('error', part);
      last = last.pipe(step);
    }
    last.pipe(to, { end: false });
  };
  for (const end of [remote, child.stdin, child.stdout]) end.on('error', part);
  remote.once('close', part);
  remote.setTimeout(silence, part);
  signal?.addEventListener('abort', part, { once: true });
  through(child.stdout, [withoutFirst(), counted((bytes) => sent?.(bytes))], remote);
  through(remote, [counted((bytes) => received?.(bytes))], child.stdin);
  remote.resume();
  try {
    return { code: await ended, complaint };
  } finally {
    signal?.removeEventListener('abort', part);
    part();
  }
};

export interface MigrationHost {
  readonly guests: Guests;
  /** Folder in dom0, on storage that other hosts have in the same place. */
  readonly sharedDisks: string;
  readonly address: string | undefined;
  /** Milliseconds for which the way of a guest may carry nothing. */
  readonly silence: number;
  plan(spec: GuestSpec): Promise<Plan>;
  refuseBeyondHost(flavor: GuestSpec['flavor']): Promise<void>;
  attached(disks: ReceiveOptions['attached']): Promise<readonly Omit<AttachedDisk, 'device'>[]>;
  /** What nothing else is done to the guest beside. */
  alone<T>(id: ServerId, action: () => Promise<T>): Promise<T>;
}

/**
 * A guest goes from dom0 to dom0 as xl writes and reads it; agents carry the bytes. The target's domain stands still until it is
 * told to go on, after the source has written down that the guest is gone and nothing of it is left. So it runs on one side,
 * or for a moment on none.
 */
export class Migration {
  private readonly relays = new Map<ServerId, { readonly relay: IncomingRelay; readonly folder: string }>();

  constructor(private readonly host: MigrationHost) {}

  async reach() {
    const storage = await this.storage();
    return { storage, sees: [storage], realm: null, pool: null };
  }

  async offer({ definition, power }: Guest): Promise<string> {
    if (definition.stage !== 'settled' || definition.before || definition.rebuilding !== null)
      throw new HypervisorError('fault', 'a guest in the middle of a change, rescued or resized stays here');
    if (power === 'noState') throw new HypervisorError('unavailable', 'the guest is at another host already');
    if (power !== 'running') throw new HypervisorError('fault', 'only a guest that runs can be moved');
    if (definition.shared === null)
      throw new HypervisorError('fault', 'the disks of the guest are on no shared storage');
    const [info, facts, storage] = [await this.info(), await this.facts(), await this.storage()];
    const { type, size, boot, ephemeral, swap, config, nics, disks, shared: folder } = definition;
    return JSON.stringify({
      ...{ kind: 'xen', type, ephemeral, swap, config, storage, folder },
      size: { vcpus: size.vcpus, memory: size.memory },
      boot: { root: boot.root, kernel: boot.kernel, ramdisk: boot.ramdisk },
      ports: nics.map(({ portId }) => portId),
      disks: disks.map(({ diskId, device }) => ({ diskId, device })),
      ...{ xen: info.version, flags: [...facts.cpuFlags], cpuWords: info.cpuWords },
    } satisfies z.input<typeof Offer>);
  }

  async receive(
    spec: GuestSpec,
    text: string,
    { disks, attached }: ReceiveOptions,
    signal: AbortSignal,
  ): Promise<string> {
    const { guests, sharedDisks, address } = this.host;
    const { serverId: id } = spec.mark;
    const offer = told(Offer, text, 'the offer is not one of this backend');
    if (disks === 'copied') throw new HypervisorError('unsupported', 'Xen does not copy disks of a guest that runs');
    if (offer.storage !== (await this.storage()))
      throw new HypervisorError('fault', 'the disks of the guest are not shared with this host');
    const plan = await this.host.plan(spec);
    const guest = guestFromOffer(plan, offer, await this.host.attached(attached));
    await this.host.refuseBeyondHost(spec.flavor);
    const [info, facts] = [await this.info(), await this.facts()];
    refuseLesser(offer, info, facts.cpuFlags);
    refuseAborted(signal);
    this.forget(id);
    const { args, input } = guarding(guest);
    const expected = [JSON.stringify(guest), `${sharedDisks}/${offer.folder}`, guests.config(guest), ...filesOf(guest)];
    try {
      const said = (await guests.call(id, EXPECT, [...args, ...expected], { input })).trim();
      if (said === 'taken') throw new HypervisorError('fault', `server ${id} is on this host already`);
      if (said === 'missing') throw new HypervisorError('fault', 'the disks of the guest are not on this host');
      refuseAborted(signal);
      const key = randomBytes(32).toString('hex');
      const folder = mkdtempSync(join(tmpdir(), 'omnivisor-xen-'));
      const socket = join(folder, 'guests', id, RELAY);
      mkdirSync(join(folder, 'guests', id), { recursive: true });
      const relay = await IncomingRelay.open(socket, key, address, (channel, remote) =>
        this.serve(guest, channel, remote),
      ).catch((error: unknown) => {
        rmSync(folder, { recursive: true });
        throw error;
      });
      this.relays.set(id, { relay, folder });
      return JSON.stringify({
        ...{ kind: 'xen', serverId: id, key, machine: bootId(), endpoints: relay.endpoints, disks: 'shared' },
      } satisfies Ticket);
    } catch (error) {
      await this.cancel(id).catch(() => undefined);
      throw error;
    }
  }

  async send(guest: Guest, text: string, options: SendOptions): Promise<void> {
    const { definition } = guest;
    const { serverId: id } = definition;
    const ticket = readTicket(text, 'xen', id);
    refuseElsewhere(ticket, options.address);
    if (definition.stage !== 'moved') await this.transfer(guest, ticket, options);
    // From here on there is no way back. Whoever accepts it there makes it run, if we do not reach it.
    await handOver(ticket).catch(() => undefined);
  }

  async accept(id: ServerId): Promise<void> {
    await this.host.guests.call(id, ACCEPT);
    this.forget(id);
  }

  /** Guests of other clouds are left alone. */
  async cancel(id: ServerId): Promise<void> {
    this.forget(id);
    const { guests } = this.host;
    if (!(await guests.findOrNothing(id))) return;
    if ((await guests.call(id, CANCEL, [], { timeout: MOVE_LIMIT })).trim() === 'here')
      throw new HypervisorError('fault', 'the guest is here already');
  }

  async recover({ definition }: Guest): Promise<void> {
    if (definition.stage === 'incoming') throw new HypervisorError('fault', 'the guest is on its way to this host');
    if (await this.isMoved(definition)) throw new HypervisorError('fault', 'the guest has moved to another host');
  }

  /** Takes nobody in any more who would send this guest. */
  forget(id: ServerId): void {
    const known = this.relays.get(id);
    if (!known) return;
    this.relays.delete(id);
    known.relay.close();
    rmSync(known.folder, { recursive: true, force: true });
  }

  close(): void {
    for (const id of [...this.relays.keys()]) this.forget(id);
  }

  private async transfer(guest: Guest, ticket: Ticket, { signal, onProgress }: SendOptions): Promise<void> {
    const { guests } = this.host;
    const { definition } = guest;
    const { serverId: id } = definition;
    refuseAborted(signal);
    await this.offer(guest);
    const way = runsOn(definition.type, await this.info()) ? 'live' : 'still';
    const remote = await dial(ticket.endpoints, ticket.machine === bootId(), ticket.key, 'memory');
    const args = [guests.root, id, guests.host.lockWait(MOVE_LIMIT), way, ...this.written(definition)];
    const progress = progressOf(definition.size.memory * MIB, onProgress);
    let answered = 0;
    const { code, complaint } = await joined(guests.host.shell.start(SEND, args), remote, {
      silence: this.host.silence,
      sent: progress,
      received: (bytes) => {
        answered += bytes;
        if (answered > MOST_ANSWERED) remote.destroy();
      },
      signal,
    });
    // Whatever became of the script, or of the way to it: dom0 knows.
    if (code === 0 || (await this.isMoved(definition))) return;
    refuseAborted(signal);
    throw new HypervisorError('fault', 'the guest could not be moved', complaint.trim());
  }

  /** Waits for the end of what goes on, and makes a guest that stays run. */
  private async isMoved(guest: Definition): Promise<boolean> {
    const { guests } = this.host;
    const said = await guests.call(guest.serverId, RECOVER, this.written(guest), { timeout: MOVE_LIMIT });
    return said.trim() === 'moved';
  }

  private written(guest: Definition): string[] {
    const disks = disksOf(guest, this.host.guests.folder(guest.serverId));
    return disks.filter(({ readOnly }) => !readOnly).map(({ path }) => path);
  }

  private async serve(guest: Definition, channel: string, remote: Socket): Promise<void> {
    const { guests } = this.host;
    const { serverId: id } = guest;
    if (channel === 'memory') {
      const args = [guests.root, id, guests.host.lockWait(MOVE_LIMIT), guarding(guest).args[1]!];
      await joined(guests.host.shell.start(RECEIVE, args), remote, { silence: this.host.silence });
    } else if (channel === 'control') {
      await this.host.alone(id, async () => void (await guests.call(id, ACCEPT)));
      remote.end('running\n', () => this.forget(id));
    } else throw new HypervisorError('fault', 'there is no such channel');
  }

  private storage(): Promise<string> {
    const { guests, sharedDisks } = this.host;
    return storageAt(guests.host, guests.root, sharedDisks);
  }

  private async info(): Promise<XenInfo> {
    const { host, root } = this.host.guests;
    return parseInfo(await host.look(INFO, [root]));
  }

  private async facts() {
    const { host, root } = this.host.guests;
    return parseFacts(await host.look(FACTS, [root]));
  }
}

/** Memory that changes is sent again, so more may go over the wire than there is. */
const progressOf = (total: number, tell?: (progress: MigrationProgress) => void) => {
  let [sent, told] = [0, 0];
  return (bytes: number) => {
    sent += bytes;
    if (!tell || Date.now() - told < PROGRESS_EVERY) return;
    told = Date.now();
    tell({ memory: { total, remaining: Math.max(0, total - sent) }, disk: { total: 0, remaining: 0 } });
  };
};

/** Tells the target that the guest is its own now. */
const handOver = async ({ endpoints, machine, key }: Ticket): Promise<void> => {
  const control = await dial(endpoints, machine === bootId(), key, 'control');
  await new Promise<void>((resolve, reject) => {
    control.once('error', reject);
    control.once('close', () => resolve());
    control.resume();
  });
};
