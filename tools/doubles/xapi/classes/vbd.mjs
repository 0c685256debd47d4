import { fail } from '../model/failure.mjs';
import { NULL_REF } from '../model/types.mjs';
import { assertDiskIsFree, diskOf } from './domain.mjs';
import { domainType, hotplugError } from './vm-rules.mjs';

const USABLE = new Set(['system', 'user', 'ephemeral', 'suspend', 'crashdump', 'metadata', 'rrd', 'pvs_cache']);
const isRunning = (db, vm) => ['Running', 'Paused'].includes(db.get('VM', vm).power_state);

const assertCanPlug = (db, kind, ref, op) => {
  const error = hotplugError(db, kind, ref, op);
  if (error) throw error;
};

/** While it runs, the operation is among the device's current ones. */
const asOperation = async ({ db, task }, vbd, op, action) => {
  db.set('VBD', vbd, { current_operations: { [task]: op } });
  try {
    return await action();
  } finally {
    if (db.has('VBD', vbd)) db.set('VBD', vbd, { current_operations: {} });
  }
};

const unplug = (op) => async (context, vbd) => {
  const { db, xapi } = context;
  assertCanPlug(db, 'VBD', vbd, op);
  return asOperation(context, vbd, op, async () => {
    const { VM: vm, userdevice } = db.get('VBD', vbd);
    const gone = await xapi.guests.unplugDisk(db.get('VM', vm).uuid, userdevice);
    if (!gone && op === 'unplug') fail('DEVICE_DETACH_REJECTED', 'VBD', vbd, 'the guest keeps it');
    db.set('VBD', vbd, { currently_attached: false, device: '' });
    return '';
  });
};

export const operations = {
  'VBD.create': ({ db }, args) => {
    const { VM: vm, VDI: vdi, type, mode, empty } = args;
    if (!db.has('VM', vm)) fail('HANDLE_INVALID', 'VM', vm);
    if (!empty) {
      const kind = db.get('VDI', vdi).type;
      if (!USABLE.has(kind)) fail('VDI_INCOMPATIBLE_TYPE', vdi, kind);
    }
    if (type === 'CD' && mode !== 'RO') fail('VBD_CDS_MUST_BE_READONLY');
    if (type !== 'CD' && empty) fail('VBD_NOT_REMOVABLE_MEDIA', 'in constructor');
    if (mode === 'RW' && !empty && db.get('VDI', vdi).read_only) fail('VDI_READONLY', vdi);
    const moving = Object.entries(db.get('VM', vm).current_operations).find(([, op]) => /migrate/.test(op));
    if (moving) fail('OTHER_OPERATION_IN_PROGRESS', 'VM', vm, moving[1], moving[0]);
    const used = db.childrenOf('VBD', 'VM', vm).map((ref) => db.get('VBD', ref).userdevice);
    const device = args.userdevice === 'autodetect' ? firstFree(used) : args.userdevice;
    if (!/^\d+$/.test(device)) fail('INVALID_DEVICE', args.userdevice);
    if (used.includes(device)) fail('DEVICE_ALREADY_EXISTS', device);
    return db.create('VBD', {
      ...args,
      userdevice: device,
      VDI: empty ? NULL_REF : vdi,
      device: '',
      currently_attached: false,
    });
  },

  'VBD.destroy': ({ db }, vbd) => {
    const { currently_attached: attached, uuid, VM: vm } = db.get('VBD', vbd);
    if (attached) fail('OPERATION_NOT_ALLOWED', `VBD '${uuid}' still attached to '${db.get('VM', vm).uuid}'`);
    db.destroy('VBD', vbd);
    return '';
  },

  'VBD.plug': async (context, vbd) => {
    const { db, xapi } = context;
    assertCanPlug(db, 'VBD', vbd, 'plug');
    const { VM: vm, type, mode, userdevice } = db.get('VBD', vbd);
    if (type === 'Disk' && mode === 'RO' && domainType(db.get('VM', vm)) === 'hvm')
      fail('DISK_VBD_MUST_BE_READWRITE_FOR_HVM', vbd);
    assertDiskIsFree(db, vbd);
    return asOperation(context, vbd, 'plug', async () => {
      await xapi.guests.plugDisk(db.get('VM', vm).uuid, diskOf(context, vbd));
      const device = `xvd${String.fromCharCode(97 + Number(userdevice))}`;
      db.set('VBD', vbd, { currently_attached: true, device });
      return '';
    });
  },

  'VBD.unplug': unplug('unplug'),
  'VBD.unplug_force': unplug('unplug_force'),

  'VBD.insert': async ({ db, xapi }, vbd, vdi) => {
    const { type, empty, VM: vm, userdevice } = db.get('VBD', vbd);
    if (type !== 'CD') fail('VBD_NOT_REMOVABLE_MEDIA', vbd);
    if (!empty) fail('VBD_NOT_EMPTY', vbd);
    const { uuid } = db.get('VDI', vdi);
    if (isRunning(db, vm)) await xapi.guests.changeMedium(db.get('VM', vm).uuid, userdevice, xapi.disks.path(uuid));
    db.set('VBD', vbd, { VDI: vdi, empty: false });
    return '';
  },

  'VBD.eject': async ({ db, xapi }, vbd) => {
    const { type, empty, VM: vm, userdevice } = db.get('VBD', vbd);
    if (type !== 'CD') fail('VBD_NOT_REMOVABLE_MEDIA', vbd);
    if (empty) fail('VBD_IS_EMPTY', vbd);
    if (isRunning(db, vm)) await xapi.guests.changeMedium(db.get('VM', vm).uuid, userdevice, null);
    db.set('VBD', vbd, { VDI: NULL_REF, empty: true });
    return '';
  },
};

const firstFree = (used) => {
  let n = 0;
  while (used.includes(String(n))) n++;
  return String(n);
};

export const calls = {
  'VBD.set_mode': ({ db }, vbd, mode) => {
    const { VM: vm } = db.get('VBD', vbd);
    const power = db.get('VM', vm).power_state;
    if (power !== 'Halted') fail('VM_BAD_POWER_STATE', vm, 'halted', power.toLowerCase());
    db.set('VBD', vbd, { mode });
    return '';
  },
};
