import { asHypervisorError } from '../../common/native-command.js';
import { type GuestSpec, HypervisorError } from '../../hypervisor-driver.js';
import type { GuestDefinition } from '../definition.js';
import { checked, markOf } from '../definition.js';
import { devicesFor, type MachineTypes } from '../devices.js';
import { directBootOf } from '../direct-boot.js';
import { fetchSources, makeDrives, planDrives, type Sources } from '../disks.js';
import { guestUser } from '../guest-user.js';
import { refuseBeyondCapacity } from '../host-resources.js';
import { withNics } from '../nic-plan.js';
import { type QemuHost } from '../qemu-host.js';
import { sizeOf } from '../sizes.js';
import { refuseAborted } from '../states.js';

/** The guest that a spec asks for, before anything of it is there. */
const defined = (host: QemuHost, spec: GuestSpec, machines: MachineTypes, sources: Sources): GuestDefinition => {
  const guest: GuestDefinition = {
    ...devicesFor(spec, machines),
    ...sizeOf(spec),
    ...planDrives(spec, sources),
    mark: markOf(spec),
    name: spec.name,
    phase: 'building',
    change: null,
    suspended: false,
    attached: [],
    nics: [],
    directBoot: directBootOf(spec),
    rescue: null,
    cpus: host.cpus.own(spec.mark.serverId, spec),
    before: null,
    adopted: null,
    shared: host.options.sharedDisks !== undefined,
    wishes: { properties: spec.image.properties, extraSpecs: spec.flavor.extraSpecs },
  };
  return checked(withNics(guest, spec.nics));
};

export const spawn = async (host: QemuHost, spec: GuestSpec, signal: AbortSignal): Promise<void> => {
  const { serverId: id } = spec.mark;
  if (await isThere(host, spec)) return;
  refuseAborted(signal);
  const { machines } = await host.ability();
  // Wishes that cannot be granted are refused before anything is fetched.
  devicesFor(spec, machines);
  sizeOf(spec);
  host.cpus.own(id, spec);
  refuseBeyondCapacity(spec, host.storage, host.inventory().memoryMib);
  host.building.add(id);
  let made: GuestDefinition | null = null;
  try {
    const sources = await fetchSources(spec, signal);
    const guest = defined(host, spec, machines, sources);
    host.store.create(guest);
    made = guest;
    const making = { folder: host.disksFolder(guest), owner: guestUser(id), signal };
    await makeDrives(spec, sources, guest, guest.firmware, making);
    refuseAborted(signal);
    if (spec.powerOn) await host.bringUp(guest, signal);
    else {
      host.store.noteStopped(id);
      host.store.write({ ...guest, phase: 'spawned' });
    }
  } catch (error) {
    if (made) await host.wipe(made);
    throw asHypervisorError(error, 'spawning the guest');
  } finally {
    host.building.delete(id);
  }
};

/** True when this very guest is there and whole. Clears away what a spawn left behind that was cut off. */
const isThere = async (host: QemuHost, { mark }: GuestSpec): Promise<boolean> => {
  const { serverId: id } = mark;
  const guest = host.store.read(id);
  if (!guest) {
    if (host.store.ids().includes(id))
      throw new HypervisorError('fault', `a guest that is not ours has the place of server ${id}`);
    return false;
  }
  if (guest.mark.cloudId !== mark.cloudId || mark.cloudId !== host.options.cloudId)
    throw new HypervisorError('fault', `a guest of another cloud has the place of server ${id}`);
  if (guest.mark.attempt !== mark.attempt || guest.mark.build !== mark.build)
    throw new HypervisorError('fault', `another attempt or build of server ${id} is on this host`);
  if (guest.phase === 'incoming' || guest.phase === 'moved')
    throw new HypervisorError('fault', `server ${id} is on its way to or from this host`);
  if (guest.phase === 'building') {
    await host.wipe(guest);
    return false;
  }
  // The agent ended between the last two steps of the spawn.
  if ((await host.state(guest)) === 'prelaunch') await host.goOn(guest, 'prelaunch');
  return true;
};
