import { rmSync, statfsSync } from 'node:fs';
import { run } from '../../common/native-command.js';
import {
  type CrashDumps,
  type GuestNic,
  HypervisorError,
  type Pausing,
  type Suspending,
} from '../../hypervisor-driver.js';
import { MEMORY_NODE } from '../command-line.js';
import type { GuestDefinition } from '../definition.js';
import { checked } from '../definition.js';
import { giveDescriptors } from '../descriptors.js';
import { FILES } from '../files.js';
import { refuseOtherCpu } from '../guest-cpu.js';
import { settleInterrupted } from '../interrupted.js';
import { withNics } from '../nic-plan.js';
import { NEVER, type QemuHost } from '../qemu-host.js';
import type { QmpClient } from '../qmp-client.js';
import { runJob } from '../qmp-jobs.js';
import { dropNode, dropSet } from '../qmp-queries.js';

export const pausingOf = (host: QemuHost): Pausing => {
  const setRunning = (id: Parameters<Pausing['pause']>[0], run: boolean) =>
    host.onGuest(id, async (guest) => {
      const state = await host.state(guest);
      const power = host.powerOf(guest, state);
      if (power !== 'running' && power !== 'paused')
        throw new HypervisorError('fault', `cannot ${run ? 'unpause' : 'pause'} a guest that is ${power}`);
      if ((power === 'running') === run) return;
      if (run) await host.goOn(guest, state);
      else await host.live(id).call(guest, 'stop');
    });
  return { pause: (id) => setRunning(id, false), unpause: (id) => setRunning(id, true) };
};

export const crashDumpsOf = (host: QemuHost): CrashDumps => ({
  trigger: (id) =>
    host.onGuest(id, async (guest) => {
      if ((await host.state(guest)) !== 'running')
        throw new HypervisorError('fault', 'only a guest that runs can be interrupted');
      await host.live(id).call(guest, 'inject-nmi');
    }),
});

/** Descriptor set of the file that takes a guest's memory. */
const MEMORY_SET = 1;
const TAG = 'suspend';
const MEMORY = { tag: TAG, vmstate: MEMORY_NODE, devices: [MEMORY_NODE] };

const memoryNode = (filename: string) => ({
  driver: 'qcow2',
  'node-name': MEMORY_NODE,
  file: { driver: 'file', filename },
  backing: null,
});

/**
 * The memory goes to a file of its own, as a snapshot of a disk that nobody uses; the guest's disks stay as they are,
 * since nothing runs that could write to them.
 */
export const suspendingOf = (host: QemuHost): Suspending => {
  const suspend = async (found: GuestDefinition) => {
    const guest = await settleInterrupted(host, found);
    const { serverId: id } = guest.mark;
    if (guest.suspended) return host.turnOff(guest);
    const power = host.powerOf(guest, await host.state(guest));
    if (power !== 'running' && power !== 'paused')
      throw new HypervisorError('fault', `cannot suspend a guest that is ${power}`);
    const { bavail, bsize } = statfsSync(host.store.path(id));
    if (guest.memoryMib * 1024 ** 2 > bavail * bsize)
      throw new HypervisorError('noResources', 'not enough disk for the memory of the guest');
    const qmp = await host.qmp(guest);
    await dropMemory(qmp);
    try {
      await qmp.call('stop');
      await save(guest, qmp);
    } catch (error) {
      await dropMemory(qmp);
      rmSync(host.store.path(id, FILES.memory), { force: true });
      if (power === 'running') await qmp.call('cont');
      throw error;
    }
    host.store.write({ ...guest, suspended: true, savedUnder: host.cpuOf(guest) });
    await host.turnOff(guest);
  };

  const save = async (guest: GuestDefinition, qmp: QmpClient) => {
    const folder = host.store.path(guest.mark.serverId);
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', FILES.memory, '1M'], { cwd: folder });
    await giveDescriptors(folder, [{ kind: 'write', set: MEMORY_SET, path: FILES.memory }]);
    await qmp.call('blockdev-add', memoryNode(`/dev/fdset/${MEMORY_SET}`));
    await runJob(qmp, 'suspend', { command: 'snapshot-save', args: MEMORY }, NEVER);
  };

  const resume = async (found: GuestDefinition, nics: readonly GuestNic[]) => {
    const guest = await settleInterrupted(host, found);
    const { serverId: id } = guest.mark;
    if (!guest.suspended) {
      const state = await host.state(guest);
      if (state === 'running') return;
      // The agent ended between the last two steps.
      if (state === 'paused') return host.live(id).call<void>(guest, 'cont');
      throw new HypervisorError('fault', 'only a guest that is suspended can be resumed');
    }
    if (guest.savedUnder) refuseOtherCpu(guest.savedUnder, await host.cpu());
    await host.turnOff(guest);
    const next = checked(withNics(guest, nics));
    try {
      const begun = await host.begin(next, NEVER, ['-blockdev', JSON.stringify(memoryNode(FILES.memory))]);
      const qmp = await host.qmp(next);
      await runJob(qmp, 'resume', { command: 'snapshot-load', args: MEMORY }, NEVER);
      host.store.write({ ...begun, suspended: false, savedUnder: null });
      await qmp.call('cont');
      await dropMemory(qmp);
      rmSync(host.store.path(id, FILES.memory), { force: true });
    } catch (error) {
      if (host.read(id)?.suspended) await host.live(id).end(next);
      throw error;
    }
  };

  return {
    suspend: (id) => host.onOwnGuest(id, suspend),
    resume: (id, nics) => host.onOwnGuest(id, (guest) => resume(guest, nics)),
  };
};

/** What a suspend before this one has left in the process. */
const dropMemory = async (qmp: QmpClient): Promise<void> => {
  await dropNode(qmp, MEMORY_NODE);
  await dropSet(qmp, MEMORY_SET);
};
