import { randomBytes } from 'node:crypto';
import { existsSync, symlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join as joinPath } from 'node:path';
import { gib, type ServerId, ServerId as ServerIdSchema } from '@omnivisor/contracts';
import { IncomingRelay, join, rendezvous } from '../../common/migration/relay.js';
import { bootId, type Ticket } from '../../common/migration/ticket.js';
import { connectUnix } from '../../common/unix-socket.js';
import { type GuestSpec, HypervisorError, type ReceiveOptions } from '../../hypervisor-driver.js';
import type { GuestDefinition } from '../definition.js';
import { checked } from '../definition.js';
import { giveDescriptors, type QmpCommand } from '../descriptors.js';
import { fetchSources, makeEmptyDrives } from '../disks.js';
import { FILES } from '../files.js';
import { guestUser } from '../guest-user.js';
import { refuseBeyondCapacity } from '../host-resources.js';
import { type QemuHost } from '../qemu-host.js';
import type { QmpClient } from '../qmp-client.js';
import { guestFromOffer } from './offer.js';

const NBD = 'nbd.sock';

/** Makes a shell of the guest that waits for its memory. */
export const receive = async (
  host: QemuHost,
  spec: GuestSpec,
  offer: string,
  options: ReceiveOptions,
  signal: AbortSignal,
): Promise<string> => {
  const { serverId: id } = spec.mark;
  await clearShell(host, id);
  const { machines } = await host.ability();
  const own = { cpu: await host.cpu(), storage: host.sharedStorage() };
  const guest = checked(guestFromOffer(spec, offer, options, machines, own));
  const way = guest.shared ? 'shared' : 'copied';
  const bytes = way === 'copied' ? (guest.disks.find(({ name }) => name === 'root')?.size ?? 0) : 0;
  const disks = { ...spec.disks, root: { ...spec.disks.root, size: gib(Math.ceil(bytes / 1024 ** 3)) } };
  host.cpus.own(id, spec);
  refuseBeyondCapacity({ ...spec, disks }, host.options.stateDir, host.inventory().memoryMib);
  host.building.add(id);
  let made = false;
  try {
    const needsImage = way === 'copied' && (spec.directBoot !== null || guest.cdroms.some(({ boot }) => boot));
    const sources = needsImage ? await fetchSources(spec, signal) : null;
    guest.cpus = host.cpus.own(id, spec);
    host.store.create(guest);
    made = true;
    if (guest.shared) linkShared(host, id);
    else {
      const making = { folder: host.store.path(id, FILES.disks), owner: guestUser(id), signal };
      await makeEmptyDrives(spec, sources, guest, making);
    }
    await host.begin(guest, signal, ['-incoming', 'defer']);
    await host
      .live(id)
      .call(guest, 'migrate-set-capabilities', { capabilities: capabilities(['events', 'return-path']) });
    if (!guest.shared) await exportDisks(host, guest);
    const key = randomBytes(32).toString('hex');
    const relay = await IncomingRelay.open(
      host.store.path(id, FILES.relay),
      key,
      host.options.migrationAddress,
      (channel, socket) => serve(host, guest, channel, socket),
    );
    host.keepRelay(id, relay);
    return JSON.stringify({
      kind: 'qemu',
      serverId: id,
      key,
      machine: bootId(),
      endpoints: relay.endpoints,
      disks: way,
    } satisfies Ticket);
  } catch (error) {
    if (made) await host.wipe(guest);
    throw error;
  } finally {
    host.building.delete(id);
  }
};

export const capabilities = (names: readonly string[]) => names.map((capability) => ({ capability, state: true }));

/** A shell that waits already is made anew; a guest that is here is not touched. */
const clearShell = async (host: QemuHost, id: ServerId): Promise<void> => {
  const there = host.store.read(id);
  if (!there) {
    if (host.store.ids().includes(id))
      throw new HypervisorError('fault', `a guest that is not ours has the place of server ${id}`);
    return;
  }
  if (there.mark.cloudId !== host.options.cloudId || there.phase !== 'incoming' || (await hasArrived(host, there)))
    throw new HypervisorError('fault', `server ${id} is on this host already`);
  await host.wipe(there);
};

/** True once its memory is here, whether it runs yet, or has run and stopped by itself. */
export const hasArrived = async (host: QemuHost, guest: GuestDefinition): Promise<boolean> =>
  !['gone', 'prelaunch', 'inmigrate'].includes(await host.state(guest));

const linkShared = (host: QemuHost, id: ServerId): void => {
  const { sharedDisks } = host.options;
  const folder = sharedDisks === undefined ? null : joinPath(sharedDisks, ServerIdSchema.parse(id));
  if (folder === null || !existsSync(folder))
    throw new HypervisorError('fault', 'the disks of the guest are not shared with this host');
  symlinkSync(folder, host.store.path(id, FILES.disks));
};

/** The source fills the disks over this. */
const exportDisks = (host: QemuHost, guest: GuestDefinition): Promise<void> => {
  const start: QmpCommand = {
    execute: 'nbd-server-start',
    arguments: { addr: { type: 'fd', data: { str: 'item0' } }, 'max-connections': 0 },
  };
  const exports = guest.disks.map(({ name }) => ({
    execute: 'block-export-add',
    arguments: { type: 'nbd', id: `export-${name}`, 'node-name': name, name, writable: true },
  }));
  return giveDescriptors(host.store.path(guest.mark.serverId), [{ kind: 'listen', path: NBD }], [start, ...exports]);
};

/** One connection of the source. */
const serve = async (host: QemuHost, guest: GuestDefinition, channel: string, socket: Socket): Promise<void> => {
  const { serverId: id } = guest.mark;
  if (channel === 'memory') {
    const { connected, close } = await rendezvous(host.store.path(id, FILES.incoming));
    try {
      const incoming = { execute: 'migrate-incoming', arguments: { uri: 'fd:item0' } };
      await giveDescriptors(host.store.path(id), [{ kind: 'connect', path: FILES.incoming }], [incoming]);
      join(socket, await connected, host.migrationSilence);
    } finally {
      close();
    }
  } else if (channel.startsWith('disk ') && !guest.shared) join(socket, await connectUnix(host.store.path(id, NBD)));
  else if (channel === 'control') {
    await host.alone(id, () => takeOver(host, host.definition(id)));
    socket.end('running\n', () => host.keepRelay(id, null));
  } else throw new HypervisorError('fault', 'there is no such channel');
};

/**
 * The source has let go of the guest: it is this host's from now on, and what becomes of it here is its own doing.
 * Again: succeeds.
 * @throws HypervisorError `fault` while its memory is still to come
 */
export const takeOver = async (host: QemuHost, guest: GuestDefinition): Promise<void> => {
  if (guest.phase !== 'incoming') return;
  const state = await host.state(guest);
  // A process that ended was there when the source let go: its disks are the newest there are.
  if (state !== 'gone') {
    if (!(await hasArrived(host, guest)))
      throw new HypervisorError('fault', 'the memory of the guest is not here yet', state);
    if (state === 'paused') await goOn(await host.qmp(guest));
  }
  host.store.write({ ...guest, phase: 'spawned' });
};

const goOn = async (qmp: QmpClient): Promise<void> => {
  const exports = await qmp.call<{ id: string }[]>('query-block-exports');
  if (exports.length > 0) await qmp.call('nbd-server-stop');
  await qmp.call('cont');
};
