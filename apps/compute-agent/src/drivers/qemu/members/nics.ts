import { type GuestNic, HypervisorError, type Nics } from '../../hypervisor-driver.js';
import { netdevName, nicDevice } from '../command-line.js';
import type { GuestDefinition, Nic } from '../definition.js';
import { checked } from '../definition.js';
import { giveDescriptors, tapsOf } from '../descriptors.js';
import { settleInterrupted } from '../interrupted.js';
import { nicOf } from '../nic-plan.js';
import { type QemuHost } from '../qemu-host.js';
import type { QmpClient } from '../qmp-client.js';
import { hasDevice } from '../qmp-queries.js';
import { freeSlot } from '../slots.js';
import { unplug } from '../unplug.js';
import { runningState } from './disks.js';

export const nicsOf = (host: QemuHost): Nics => {
  const attach = async (found: GuestDefinition, asked: GuestNic) => {
    const guest = await settleInterrupted(host, found);
    const known = guest.nics.find(({ portId }) => portId === asked.portId);
    const nic = known ?? nicOf(guest, asked, freeSlot(guest));
    const isRunning = await runningState(host, guest);
    const next = checked({ ...guest, nics: [...guest.nics.filter((n) => n !== known), nic] });
    if (!known) host.store.write(next);
    if (!isRunning) return;
    try {
      await plug(next, nic);
    } catch (error) {
      if (!known) host.store.write(guest);
      throw error;
    }
  };

  const plug = async (guest: GuestDefinition, nic: Nic) => {
    if (process.getuid?.() !== 0)
      throw new HypervisorError('unsupported', 'only root can give a guest a network device');
    const qmp = await host.qmp(guest);
    if (await hasDevice(qmp, `dev-${netdevName(nic)}`)) return;
    const add = { execute: 'netdev_add', arguments: { type: 'tap', id: netdevName(nic), fd: 'item0' } };
    // One that an agent that ended in the middle has opened already is opened anew.
    await closeNetdev(qmp, nic);
    await giveDescriptors(host.store.path(guest.mark.serverId), tapsOf([nic]), [add]);
    try {
      await qmp.call('device_add', nicDevice(guest, nic));
    } catch (error) {
      await closeNetdev(qmp, nic);
      throw error;
    }
  };

  const detach = async (found: GuestDefinition, portId: string) => {
    const guest = await settleInterrupted(host, found);
    const nic = guest.nics.find((known) => known.portId === portId);
    if (!nic) return;
    if (await runningState(host, guest)) {
      const qmp = await host.qmp(guest);
      await unplug(qmp, `dev-${netdevName(nic)}`, host.unplugPatience);
      await closeNetdev(qmp, nic);
    }
    host.store.write({ ...guest, nics: guest.nics.filter((known) => known !== nic) });
  };

  return {
    attach: (id, nic) => host.onOwnGuest(id, (guest) => attach(guest, nic)),
    cutOff: async () => {
      throw new HypervisorError('unsupported', 'the taps of this host are filtered, and never cut off');
    },
    detach: (id, portId) => host.onOwnGuest(id, (guest) => detach(guest, portId)),
  };
};

const closeNetdev = (qmp: QmpClient, nic: Nic): Promise<unknown> =>
  qmp.call('netdev_del', { id: netdevName(nic) }).catch((error: HypervisorError) => {
    if (error.code !== 'fault') throw error;
  });
