import { cpuList } from '../common/cpu-set.js';
import { run } from '../common/native-command.js';
import type { GuestDefinition } from './definition.js';
import { userOf } from './processes.js';
import type { QemuGuest } from './qemu-guest.js';

/** How often a guest's balloon driver tells of its memory. */
const BALLOON_SECONDS = 10;

/** What a process is told once it stands, before its guest runs: no argument says it. */
export const tune = async (live: QemuGuest, guest: GuestDefinition): Promise<void> => {
  await throttle(live, guest);
  const polling = { path: '/machine/peripheral/balloon0', property: 'guest-stats-polling-interval' };
  await live.call(guest, 'qom-set', { ...polling, value: BALLOON_SECONDS });
};

/**
 * Gives each vCPU the processor that is its own, and what else the process does those of the guest, or, where the flavor
 * says so, what all share.
 */
export const pin = async (live: QemuGuest, guest: GuestDefinition, shared: readonly number[] | null): Promise<void> => {
  const { cpus } = guest;
  const pid = live.pid(guest);
  if (!cpus || pid === null) return;
  const isOutside = guest.wishes.extraSpecs['hw:emulator_threads_policy'] === 'share' && (shared?.length ?? 0) > 0;
  await confine(pid, isOutside ? shared! : cpus);
  const vcpus = await live.call<{ 'cpu-index': number; 'thread-id': number }[]>(guest, 'query-cpus-fast');
  for (const vcpu of vcpus) await setAffinity(pid, ['-p'], [cpus[vcpu['cpu-index']]!], vcpu['thread-id']);
};

/** Lets a process, each of its threads, run on these processors only. */
export const confine = (pid: number, cpus: readonly number[]): Promise<void> =>
  setAffinity(pid, ['-a', '-p'], cpus, pid);

/** As the user of the process: to do it to another's takes a right that the agent has not. */
const setAffinity = async (pid: number, how: readonly string[], cpus: readonly number[], thread: number) => {
  const user = userOf(pid);
  const asUser = process.getuid?.() === 0 ? { uid: user, gid: user } : {};
  await run('taskset', [...how, '-c', cpuList(cpus), `${thread}`], { cwd: '/', ...asUser });
};

/** Limits of the flavor for each of the guest's own disks. */
const throttle = async (live: QemuGuest, guest: GuestDefinition): Promise<void> => {
  const limit = (name: string) => guest.limits[`disk_${name}`] ?? 0;
  const limits = {
    bps: limit('total_bytes_sec'),
    bps_rd: limit('read_bytes_sec'),
    bps_wr: limit('write_bytes_sec'),
    iops: limit('total_iops_sec'),
    iops_rd: limit('read_iops_sec'),
    iops_wr: limit('write_iops_sec'),
  };
  if (!Object.values(limits).some((value) => value > 0)) return;
  const backend = guest.diskBus === 'virtio' ? '/virtio-backend' : '';
  for (const { name } of guest.disks)
    await live.call(guest, 'block_set_io_throttle', {
      id: `/machine/peripheral/dev-${name}${backend}`,
      ...limits,
    });
};
