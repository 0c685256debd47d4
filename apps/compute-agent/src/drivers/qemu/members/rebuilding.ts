import { rmSync } from 'node:fs';
import { cpuPolicyOf } from '@omnivisor/contracts';
import { type GuestSpec, HypervisorError, type Rebuilding } from '../../hypervisor-driver.js';
import { policyOf } from '../dedicated-cpus.js';
import type { GuestDefinition } from '../definition.js';
import { checked } from '../definition.js';
import { devicesFor } from '../devices.js';
import { directBootOf } from '../direct-boot.js';
import { nextFolder, takePlace } from '../disk-places.js';
import { fetchSources, makeDrives, planDrives } from '../disks.js';
import { FILES } from '../files.js';
import { guestUser } from '../guest-user.js';
import { refuseBeyondCapacity } from '../host-resources.js';
import { settleInterrupted } from '../interrupted.js';
import { withNics } from '../nic-plan.js';
import { type QemuHost } from '../qemu-host.js';
import { sizeOf } from '../sizes.js';
import { refuseAborted } from '../states.js';

/** New disks beside the old ones while the guest goes on, and in their place when it is off. */
export const rebuildingOf = (host: QemuHost): Rebuilding => {
  const rebuild = async (found: GuestDefinition, spec: GuestSpec, signal: AbortSignal) => {
    const { serverId: id, attempt, build } = spec.mark;
    if (found.mark.attempt !== attempt || found.mark.build > build)
      throw new HypervisorError('fault', `another attempt or build of server ${id} is on this host`);
    if (found.mark.build === build && found.change === null) return;
    if (found.mark.build === build && found.change === 'rebuild') {
      await host.turnOff(found);
      takePlace(host.store, id, 'disks');
      return finish(found, spec, signal);
    }
    const guest = await settleInterrupted(host, found);
    if (guest.rescue || guest.before)
      throw new HypervisorError('fault', `cannot rebuild a guest that is ${guest.rescue ? 'rescued' : 'resized'}`);
    refuseOtherPolicy(guest, spec);
    const { machines } = await host.ability();
    const hardware = devicesFor(spec, machines);
    const sources = await fetchSources(spec, signal);
    const plan = planDrives(spec, sources);
    const storage = guest.shared ? host.storage : host.store.path(id);
    refuseBeyondCapacity(spec, storage, host.inventory().memoryMib, (size) => host.freePagesFor(guest, size));
    const next = checked(
      withNics(
        {
          ...guest,
          ...hardware,
          ...sizeOf(spec),
          ...plan,
          // Places that attached disks have are theirs; the new local ones come before them.
          attached: guest.attached,
          directBoot: directBootOf(spec),
          mark: { ...spec.mark },
          name: spec.name,
          suspended: false,
          change: 'rebuild',
          wishes: { properties: spec.image.properties, extraSpecs: spec.flavor.extraSpecs },
        },
        spec.nics,
      ),
    );
    const folder = nextFolder(host.store, id, 'disks');
    rmSync(folder, { recursive: true, force: true });
    try {
      await makeDrives(spec, sources, plan, hardware.firmware, { folder, owner: guestUser(id), signal });
      refuseAborted(signal);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    await host.turnOff(guest);
    host.store.write(next);
    takePlace(host.store, id, 'disks');
    await finish(next, spec, signal);
  };

  const finish = async (guest: GuestDefinition, spec: GuestSpec, signal: AbortSignal) => {
    rmSync(host.store.path(guest.mark.serverId, FILES.tpm), { recursive: true, force: true });
    if (spec.powerOn) await host.bringUp(guest, signal);
    else host.store.write({ ...guest, change: null });
  };

  return {
    rebuild: (spec, signal) => host.onOwnGuest(spec.mark.serverId, (guest) => rebuild(guest, spec, signal)),
  };
};

/** Its claim, and its CPUs, stay as they are. */
const refuseOtherPolicy = ({ wishes, cpus, vcpus }: GuestDefinition, spec: GuestSpec) => {
  const before = cpuPolicyOf({ vcpus, extraSpecs: wishes.extraSpecs }, wishes);
  const wanted = policyOf(spec);
  if ((wanted.policy === 'dedicated') !== Boolean(cpus) || (cpus && wanted.threads !== before.threads))
    throw new HypervisorError('unsupported', 'a rebuild does not change how a server has CPUs (hw_cpu_policy)');
};
