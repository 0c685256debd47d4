import { fail } from '../model/failure.mjs';
import { dateTime, NULL_REF } from '../model/types.mjs';
import { lasting } from './domain.mjs';

/** Virtual disks are kept as VHDs of blocks of this size. */
const BLOCK = 2 << 20;
const LARGEST = 2040 * 2 ** 30;
/** Kinds of storage that take a disk's whole size when it is made. */
const THICK = new Set(['lvm', 'lvmoiscsi', 'lvmohba']);

const rounded = (size) => {
  if (size <= 0 || size > LARGEST) fail('SR_BACKEND_FAILURE_79', '', `VDI Invalid size [opterr=${size}]`, '');
  return Math.ceil(size / BLOCK) * BLOCK;
};

const assertPlugged = (db, sr) => {
  const pbds = db.childrenOf('PBD', 'SR', sr);
  if (pbds.length === 0) fail('SR_HAS_NO_PBDS', sr);
  if (!pbds.some((pbd) => db.get('PBD', pbd).currently_attached)) fail('SR_NOT_ATTACHED', sr);
};

const assertRoom = (db, sr, size) => {
  const { type, physical_size: total } = db.get('SR', sr);
  const taken = db.childrenOf('VDI', 'SR', sr).reduce((sum, vdi) => sum + db.get('VDI', vdi).virtual_size, 0);
  if (THICK.has(type) && taken + size > total) fail('SR_BACKEND_FAILURE_44', '', 'There is insufficient space', '');
};

/** @param {import('../model/xapi.mjs').Context} context @returns {Promise<string>} the new disk */
export const makeVdi = async ({ db, xapi }, sr, size, fields) => {
  assertPlugged(db, sr);
  const virtual = rounded(size);
  assertRoom(db, sr, virtual);
  const ref = db.create('VDI', { managed: true, ...fields, SR: sr, virtual_size: virtual });
  const { uuid } = db.get('VDI', ref);
  db.set('VDI', ref, { location: uuid });
  await xapi.disks.create(uuid, virtual);
  return ref;
};

export const removeVdi = async ({ db, xapi }, vdi) => {
  const { uuid } = db.get('VDI', vdi);
  db.destroy('VDI', vdi);
  await xapi.disks.remove(uuid);
};

const attachedTo = (db, vdi, mode) =>
  db
    .childrenOf('VBD', 'VDI', vdi)
    .map((vbd) => db.get('VBD', vbd))
    .filter((vbd) => vbd.currently_attached && (mode === undefined || vbd.mode === mode));

/** Operations under way on the disk itself, and what is attached, say whether `op` may begin. */
const LIVE = new Set(['snapshot', 'clone', 'resize_online']);
const assertAllowed = (db, vdi, op) => {
  const { SR: sr, current_operations: current, is_tools_iso: tools, sharable } = db.get('VDI', vdi);
  const [busy] = Object.entries(current).filter(([, other]) => other !== 'copy');
  if (busy) fail('OTHER_OPERATION_IN_PROGRESS', 'VDI', vdi, busy[1], busy[0]);
  const blocking = LIVE.has(op) ? [] : attachedTo(db, vdi, op === 'copy' ? 'RW' : undefined);
  if (blocking.length > 0) fail('VDI_IN_USE', vdi, op);
  if (op === 'destroy' && tools) fail('SR_OPERATION_NOT_SUPPORTED', sr);
  if (op === 'snapshot' && sharable) fail('VDI_IS_SHARABLE', vdi);
};

/** Others see the operation in the disk's current operations. */
const asOperation = async ({ db, xapi, task, signal }, vdi, op, action) => {
  assertAllowed(db, vdi, op);
  db.set('VDI', vdi, { current_operations: { ...db.get('VDI', vdi).current_operations, [task]: op } });
  try {
    await lasting({ task, signal }, xapi.settings.latencies[op] ?? 0);
    return await action();
  } finally {
    if (db.has('VDI', vdi)) {
      const { [task]: _, ...left } = db.get('VDI', vdi).current_operations;
      db.set('VDI', vdi, { current_operations: left });
    }
  }
};

const PASSED_ON = [
  ...['name_label', 'name_description', 'type', 'sharable', 'other_config', 'xenstore_data', 'sm_config', 'tags'],
];
const copyOf = async (context, vdi, sr, fields) => {
  const { db, xapi } = context;
  const record = db.get('VDI', vdi);
  const passed = Object.fromEntries(PASSED_ON.map((field) => [field, record[field]]));
  assertPlugged(db, sr);
  assertRoom(db, sr, record.virtual_size);
  const ref = db.create('VDI', { ...passed, managed: true, ...fields, SR: sr, virtual_size: record.virtual_size });
  const { uuid } = db.get('VDI', ref);
  db.set('VDI', ref, { location: uuid });
  const copy = () => xapi.disks.copy(record.uuid, uuid);
  const [writer] = attachedTo(db, vdi, 'RW');
  const running = writer && ['Running', 'Paused'].includes(db.get('VM', writer.VM).power_state);
  await (running ? xapi.guests.quiesced(db.get('VM', writer.VM).uuid, copy) : copy());
  return ref;
};

const resize = (op) => async (context, vdi, size) => {
  const { db, xapi } = context;
  await asOperation(context, vdi, op, async () => {
    const wanted = rounded(size);
    const { virtual_size: now, uuid, SR: sr } = db.get('VDI', vdi);
    if (wanted < now) fail('SR_BACKEND_FAILURE_79', '', 'VDI Invalid size [opterr=shrinking not allowed]', '');
    assertRoom(db, sr, wanted - now);
    await xapi.disks.resize(uuid, wanted);
    db.set('VDI', vdi, { virtual_size: wanted });
  });
  return '';
};

export const operations = {
  'VDI.create': (context, args) => {
    if (!context.db.has('SR', args.SR)) fail('HANDLE_INVALID', 'SR', args.SR);
    const { SR: sr, virtual_size: size, ...fields } = args;
    return makeVdi(context, sr, size, fields);
  },

  'VDI.destroy': async (context, vdi) => {
    assertPlugged(context.db, context.db.get('VDI', vdi).SR);
    assertAllowed(context.db, vdi, 'destroy');
    for (const vbd of [...context.db.childrenOf('VBD', 'VDI', vdi)]) context.db.destroy('VBD', vbd);
    await removeVdi(context, vdi);
    return '';
  },

  'VDI.snapshot': (context, vdi) =>
    asOperation(context, vdi, 'snapshot', () =>
      copyOf(context, vdi, context.db.get('VDI', vdi).SR, {
        is_a_snapshot: true,
        snapshot_of: vdi,
        snapshot_time: dateTime(),
      }),
    ),

  'VDI.clone': (context, vdi) =>
    asOperation(context, vdi, 'clone', () => copyOf(context, vdi, context.db.get('VDI', vdi).SR, {})),

  'VDI.copy': (context, vdi, sr = NULL_REF, _base = NULL_REF, into = NULL_REF) => {
    if (into !== NULL_REF) fail('NOT_IMPLEMENTED', 'VDI.copy into a disk');
    return asOperation(context, vdi, 'copy', () => copyOf(context, vdi, sr, {}));
  },

  'VDI.resize': resize('resize'),
  'VDI.resize_online': resize('resize_online'),

  'VDI.pool_migrate': async (context, vdi, sr) => {
    const { db } = context;
    const [vbd] = db.childrenOf('VBD', 'VDI', vdi);
    if (!vbd || db.get('VM', db.get('VBD', vbd).VM).power_state !== 'Running') fail('VDI_NEEDS_VM_FOR_MIGRATE', vdi);
    assertPlugged(db, sr);
    db.set('VDI', vdi, { SR: sr });
    return vdi;
  },
};

const setField =
  (field) =>
  ({ db }, vdi, value) => {
    db.set('VDI', vdi, { [field]: value });
    return '';
  };

export const calls = {
  'VDI.set_name_label': setField('name_label'),
  'VDI.set_name_description': setField('name_description'),
  'VDI.set_read_only': setField('read_only'),
  'VDI.set_sharable': setField('sharable'),
};
