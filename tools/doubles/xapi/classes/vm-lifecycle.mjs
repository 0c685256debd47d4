import { fail } from '../model/failure.mjs';
import { NULL_REF } from '../model/types.mjs';
import {
  asOperation,
  assertDiskIsFree,
  forgetGuest,
  guestSpec,
  markRunning,
  markStopped,
  reportGuest,
} from './domain.mjs';
import { assertCanBoot, chooseHost } from './placing.mjs';
import { makeVdi, removeVdi } from './vdi.mjs';
import { domainType } from './vm-rules.mjs';

const TOOLS = { PV_drivers_version: { major: '8', minor: '4', micro: '0', build: '1' }, PV_drivers_detected: true };

const assertCanStart = ({ db, xapi }, vm, force) => {
  const record = db.get('VM', vm);
  const { memory_static_min, memory_dynamic_min, memory_dynamic_max, memory_static_max } = record;
  const inOrder = memory_static_min <= memory_dynamic_min && memory_dynamic_min <= memory_dynamic_max;
  if (!force && !(inOrder && memory_dynamic_max <= memory_static_max)) fail('MEMORY_CONSTRAINT_VIOLATION_ORDER');
  const cores = record.platform['cores-per-socket'];
  if (cores !== undefined && !(Number(cores) > 0 && record.VCPUs_max % Number(cores) === 0))
    fail('INVALID_VALUE', 'platform:cores-per-socket', 'VCPUs_max must be a multiple of this field');
  for (const vbd of db.childrenOf('VBD', 'VM', vm)) assertDiskIsFree(db, vbd);
  if (domainType(record) === 'hvm') return;
  if (record.PV_bootloader !== '' && !['pygrub', 'eliloader'].includes(record.PV_bootloader))
    fail('UNKNOWN_BOOTLOADER', vm, record.PV_bootloader);
  const bootable = db.childrenOf('VBD', 'VM', vm).some((vbd) => db.get('VBD', vbd).bootable);
  if (record.PV_kernel === '' && !bootable) fail('BOOTLOADER_FAILED', vm, 'no bootable disk');
  if (xapi.settings.restrictions.includes('VM_start')) fail('LICENCE_RESTRICTION', 'VM_start');
};

/** Boots it there, and reports the guest's tools if it has them. */
const boot = async (context, vm, host, { paused = false, saved } = {}) => {
  const { db, xapi } = context;
  forgetGuest(db, vm);
  await xapi.guests.boot(guestSpec(context, vm), { paused, ...(saved ? { saved } : {}) }).catch((error) => {
    fail('FAILED_TO_START_EMULATOR', vm, 'qemu-dm', error.message);
  });
  markRunning(context, vm, host, paused ? 'Paused' : 'Running');
  if (xapi.settings.guestTools) reportGuest(db, vm, { ...TOOLS, networks: addressesOf(db, vm) });
};

/** The guest has the addresses it was given: what tools of a configured guest report. */
const addressesOf = (db, vm) =>
  Object.fromEntries(
    db.childrenOf('VIF', 'VM', vm).flatMap((ref) => {
      const { device, ipv4_allowed: v4, ipv6_allowed: v6 } = db.get('VIF', ref);
      return [
        ...v4.slice(0, 1).map((address) => [`${device}/ip`, address]),
        ...v6.map((address, n) => [`${device}/ipv6/${n}`, address]),
      ];
    }),
  );

const start =
  (op, pick) =>
  async (context, vm, ...args) => {
    const { host: wanted, paused, force } = pick(args);
    await asOperation(context, vm, op, async () => {
      if (wanted) assertCanBoot(context.db, vm, wanted);
      const host = wanted ?? chooseHost(context.db, vm);
      assertCanStart(context, vm, force);
      await boot(context, vm, host, { paused });
    });
    return '';
  };

const resume =
  (op, pick) =>
  async (context, vm, ...args) => {
    const { db, xapi } = context;
    const { host: wanted, paused } = pick(args);
    await asOperation(context, vm, op, async () => {
      if (wanted) assertCanBoot(db, vm, wanted);
      const host = wanted ?? chooseHost(db, vm);
      const { suspend_VDI: image } = db.get('VM', vm);
      if (!db.has('VDI', image)) fail('VM_HAS_NO_SUSPEND_VDI', vm);
      await boot(context, vm, host, { paused, saved: xapi.disks.path(db.get('VDI', image).uuid) });
      db.set('VM', vm, { suspend_VDI: NULL_REF });
      await removeVdi(context, image);
    });
    return '';
  };

const suspendStorage = (db, vm) => {
  const { suspend_SR: own, resident_on: host } = db.get('VM', vm);
  const pool = db.get('pool', db.refs('pool')[0]);
  const candidates = [own, pool.suspend_image_SR, db.get('host', host).suspend_image_sr];
  return candidates.find((sr) => db.has('SR', sr)) ?? fail('VM_NO_SUSPEND_SR', vm);
};

/** What a hard stop does not wait for. */
const GIVES_WAY = new Set(['clean_shutdown', 'clean_reboot', 'hard_reboot', 'pool_migrate', 'suspend']);
const cancelConflicting = ({ db, xapi }, vm) => {
  for (const [task, op] of Object.entries(db.get('VM', vm).current_operations))
    if (GIVES_WAY.has(op) && xapi.tasks.isPending(task)) xapi.tasks.cancel(task);
};

const stopCleanly = async ({ db, xapi, signal, task }, vm) => {
  const stopped = await xapi.guests.askToStop(db.get('VM', vm).uuid, xapi.settings.shutdownPatience, signal);
  if (!stopped && signal.aborted) fail('TASK_CANCELLED', task);
  if (!stopped) fail('VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT', vm);
};

export const operations = {
  'VM.start': start('start', ([paused, force]) => ({ host: null, paused, force })),
  'VM.start_on': start('start_on', ([host, paused, force]) => ({ host, paused, force })),
  'VM.resume': resume('resume', ([paused]) => ({ host: null, paused })),
  'VM.resume_on': resume('resume_on', ([host, paused]) => ({ host, paused })),

  'VM.pause': async (context, vm) => {
    await asOperation(context, vm, 'pause', async () => {
      await context.xapi.guests.pause(context.db.get('VM', vm).uuid);
      context.db.set('VM', vm, { power_state: 'Paused' });
    });
    return '';
  },

  'VM.unpause': async (context, vm) => {
    await asOperation(context, vm, 'unpause', async () => {
      await context.xapi.guests.unpause(context.db.get('VM', vm).uuid);
      context.db.set('VM', vm, { power_state: 'Running' });
    });
    return '';
  },

  'VM.suspend': async (context, vm) => {
    const { db, xapi } = context;
    await asOperation(context, vm, 'suspend', async () => {
      const record = db.get('VM', vm);
      const image = await makeVdi(context, suspendStorage(db, vm), record.memory_static_max, {
        name_label: 'Suspend image',
        type: 'suspend',
      });
      await xapi.guests.save(record.uuid, xapi.disks.path(db.get('VDI', image).uuid));
      db.set('VM', vm, { suspend_VDI: image });
      markStopped(context, vm, 'Suspended');
    });
    return '';
  },

  'VM.clean_shutdown': async (context, vm) => {
    await asOperation(context, vm, 'clean_shutdown', async () => {
      await stopCleanly(context, vm);
      markStopped(context, vm, 'Halted');
    });
    return '';
  },

  'VM.clean_reboot': async (context, vm) => {
    await asOperation(context, vm, 'clean_reboot', async () => {
      const { resident_on: host } = context.db.get('VM', vm);
      await stopCleanly(context, vm);
      await boot(context, vm, host);
    });
    return '';
  },

  'VM.hard_shutdown': async (context, vm) => {
    const { db, xapi } = context;
    cancelConflicting(context, vm);
    await asOperation(context, vm, 'hard_shutdown', async () => {
      const { power_state: power, suspend_VDI: image, uuid } = db.get('VM', vm);
      if (power === 'Suspended' && db.has('VDI', image)) {
        db.set('VM', vm, { suspend_VDI: NULL_REF });
        await removeVdi(context, image);
      }
      await xapi.guests.powerOff(uuid);
      markStopped(context, vm, 'Halted');
    });
    return '';
  },

  'VM.hard_reboot': async (context, vm) => {
    cancelConflicting(context, vm);
    await asOperation(context, vm, 'hard_reboot', async () => {
      const { resident_on: host, uuid } = context.db.get('VM', vm);
      await context.xapi.guests.powerOff(uuid);
      await boot(context, vm, host);
    });
    return '';
  },

  'VM.power_state_reset': async (context, vm) => {
    const { db, xapi } = context;
    const { uuid, resident_on: host } = db.get('VM', vm);
    if (host !== NULL_REF && db.get('host_metrics', db.get('host', host).metrics).live) fail('HOST_IS_LIVE', host);
    await xapi.guests.powerOff(uuid);
    markStopped(context, vm, 'Halted');
    return '';
  },
};

/** The guest has stopped by itself: what its VM is set to do then happens. */
export const guestStopped = async (context, vm, how) => {
  const { db } = context;
  const record = db.get('VM', vm);
  const wish = { shutdown: 'actions_after_shutdown', reboot: 'actions_after_reboot', crash: 'actions_after_crash' }[
    how
  ];
  const { resident_on: host } = record;
  markStopped(context, vm, 'Halted');
  if (record[wish].includes('restart')) await boot(context, vm, host);
};
