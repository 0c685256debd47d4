import { rmSync } from 'node:fs';
import { type GuestSpec, HypervisorError, type Rescuing } from '../../hypervisor-driver.js';
import type { GuestDefinition } from '../definition.js';
import { checked, RescueDevices } from '../definition.js';
import { nextFolder, takePlace } from '../disk-places.js';
import { fetchSources, makeDrives, planRescue } from '../disks.js';
import { FILES } from '../files.js';
import { guestUser } from '../guest-user.js';
import { settleInterrupted } from '../interrupted.js';
import { withNics } from '../nic-plan.js';
import { NEVER, type QemuHost } from '../qemu-host.js';
import { rescueDevices } from '../rescue-devices.js';
import { refuseAborted } from '../states.js';

export const rescuingOf = (host: QemuHost): Rescuing => {
  const rescue = async (found: GuestDefinition, spec: GuestSpec, signal: AbortSignal) => {
    const { serverId: id } = spec.mark;
    const guest = await settleInterrupted(host, found);
    if (guest.rescue) return;
    if (guest.before) throw new HypervisorError('fault', 'a guest that is resized cannot be rescued');
    const { machines } = await host.ability();
    const devices = rescueDevices(spec, guest, machines);
    const sources = await fetchSources(spec, signal);
    const plan = planRescue(spec, sources, guest);
    const folder = nextFolder(host.store, id, 'rescue');
    rmSync(folder, { recursive: true, force: true });
    try {
      // Its firmware keeps its own variables: it is the same machine.
      await makeDrives(spec, sources, { disks: [plan.disk] }, 'bios', { folder, owner: guestUser(id), signal });
      refuseAborted(signal);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    const rescue = { ...plan, own: RescueDevices.parse(guest) };
    const next = checked(withNics({ ...guest, ...devices, rescue, change: 'rescue', suspended: false }, spec.nics));
    await host.turnOff(guest);
    host.store.write(next);
    takePlace(host.store, id, 'rescue');
    try {
      await host.bringUp(next, signal);
    } catch (error) {
      await settleInterrupted(host, next);
      throw error;
    }
  };

  const unrescue = async (found: GuestDefinition, nics: GuestSpec['nics']) => {
    if (!found.rescue && found.change !== 'unrescue') return void (await settleInterrupted(host, found));
    const { serverId: id } = found.mark;
    await host.turnOff(found);
    const own = { ...found, ...found.rescue?.own, rescue: null };
    const next = checked(withNics({ ...own, change: 'unrescue', suspended: false }, nics));
    host.store.write(next);
    rmSync(host.store.path(id, FILES.rescue), { recursive: true, force: true });
    await host.bringUp(next, NEVER);
  };

  return {
    rescue: (spec, signal) => host.onOwnGuest(spec.mark.serverId, (guest) => rescue(guest, spec, signal)),
    unrescue: (id, nics) => host.onOwnGuest(id, (guest) => unrescue(guest, nics)),
  };
};
