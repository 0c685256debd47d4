import type { ServerId } from '@omnivisor/contracts';
import { readTicket, refuseElsewhere } from '../../common/migration/ticket.js';
import { HypervisorError, type LiveMigration } from '../../hypervisor-driver.js';
import type { GuestDefinition } from '../definition.js';
import { offerOf } from '../migration/offer.js';
import { isMoved, runHere, Sending, type SendOptions } from '../migration/source.js';
import { hasArrived, receive, takeOver } from '../migration/target.js';
import type { QemuHost } from '../qemu-host.js';

/**
 * The source's QEMU stands still once the target has all its memory; the target's waits to be told to go on, which it is
 * when the source's agent has written down that the guest has moved. So it runs on one side, or for a moment on none.
 */
export const liveMigrationOf = (host: QemuHost): LiveMigration => {
  const offer = async (guest: GuestDefinition) => {
    if (guest.change || guest.rescue || guest.before || guest.suspended)
      throw new HypervisorError('fault', 'a guest in the middle of a change, rescued, resized or suspended stays here');
    if ((await host.state(guest)) !== 'running')
      throw new HypervisorError('fault', 'only a guest that runs can be moved');
    return offerOf(guest, host.cpuOf(guest), guest.shared ? host.sharedStorage() : null);
  };

  const send = async (id: ServerId, text: string, options: SendOptions) => {
    const guest = host.definition(id);
    const ticket = readTicket(text, 'qemu', id);
    refuseElsewhere(ticket, options.address);
    if (guest.phase === 'incoming') throw new HypervisorError('fault', 'the guest is on its way to this host');
    // What lies where both hosts see it may be what it left behind when its disks were copied.
    if (ticket.disks === 'shared' && !guest.shared && guest.phase !== 'moved')
      throw new HypervisorError('fault', 'the disks of the guest are not shared with the target');
    const sending = new Sending(host, guest, ticket, options);
    host.keepSending(id, sending);
    try {
      if (guest.phase !== 'moved') {
        await offer(guest).catch(async (error: unknown) => {
          if (!(await isMoved(await host.qmp(guest)))) throw error;
        });
        if (!(await isMoved(await host.qmp(guest)))) await sending.transfer();
        host.store.write({ ...guest, phase: 'moved', shared: ticket.disks === 'shared' });
        // From here on there is no way back. Whoever accepts it there makes it run, if we do not reach it.
        await sending.handOver().catch(() => undefined);
      } else await sending.handOver().catch(() => undefined);
      await host.live(id).end(guest);
    } finally {
      host.keepSending(id, null);
      sending.close();
    }
  };

  const accept = async (guest: GuestDefinition) => {
    await takeOver(host, guest);
    host.keepRelay(guest.mark.serverId, null);
  };

  return {
    kinds: new Set(['forced', 'copied'] as const),
    reach: async () => {
      const storage = host.sharedStorage();
      return { storage, sees: storage === null ? [] : [storage], realm: null, pool: null };
    },
    ...(host.options.migrationAddress === undefined ? {} : { address: host.options.migrationAddress }),
    offer: (id) => host.onOwnGuest(id, offer),
    receive: (spec, text, options, signal) =>
      host.alone(spec.mark.serverId, () => receive(host, spec, text, options, signal)),
    send: (id, ticket, options) => host.alone(id, () => send(id, ticket, options)),
    accept: (id) => host.alone(id, () => accept(host.definition(id))),
    cancel: (id) =>
      host.alone(id, async () => {
        const guest = host.read(id);
        if (!guest) return;
        if (guest.phase !== 'incoming' || (await hasArrived(host, guest)))
          throw new HypervisorError('fault', 'the guest is here already');
        await host.wipe(guest);
      }),
    recover: (id) =>
      host.alone(id, async () => {
        const guest = host.definition(id);
        if (guest.phase === 'moved') throw new HypervisorError('fault', 'the guest has moved to another host');
        if ((await host.state(guest)) !== 'gone') await runHere(await host.qmp(guest), guest);
      }),
  };
};
