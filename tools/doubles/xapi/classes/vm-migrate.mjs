import { rm } from 'node:fs/promises';
import { fail, XapiFailure } from '../model/failure.mjs';
import { NULL_REF } from '../model/types.mjs';
import { asOperation, guestSpec, markRunning, markStopped } from './domain.mjs';
import { assertCanBoot } from './placing.mjs';
import { operations as vbdOperations } from './vbd.mjs';
import { removeVdi } from './vdi.mjs';
import { operationError } from './vm-rules.mjs';

/** The domain is on another member from now on; its process stays what it is, all members are this machine. */
export const moveInPool = (context, vm, host) =>
  asOperation(context, vm, 'pool_migrate', async () => {
    assertCanBoot(context.db, vm, host);
    markRunning(context, vm, host);
  });

const vbdsOf = (db, vm) => {
  const vbds = db.childrenOf('VBD', 'VM', vm).map((ref) => [ref, db.get('VBD', ref)]);
  return vbds.filter(([, vbd]) => vbd.VDI !== NULL_REF);
};
const disksOf = (db, vm) => vbdsOf(db, vm).filter(([, { type }]) => type !== 'CD');

/** Every disk has to be named, also one that stays where it is; CDs do not. */
const assertMapped = (db, vm, vdiMap) => {
  for (const [, { VDI: vdi }] of disksOf(db, vm)) if (!(vdi in vdiMap)) fail('VDI_NOT_IN_MAP', vdi);
};

/** A CD goes nowhere: unless it stays where it is, it is ejected before anything else, for good. */
const ejectMovingCds = async (context, vm, stays) => {
  const { db } = context;
  for (const [vbd, { VDI: vdi, type }] of vbdsOf(db, vm))
    if (type === 'CD' && !stays(vdi, db.get('VDI', vdi).SR)) await vbdOperations['VBD.eject'](context, vbd);
};

/** What the copy of a disk is called, and how long it is; what others have written into its `other_config` stays behind. */
const copied = ({ name_label, name_description, virtual_size, type, sharable, read_only, other_config }) => ({
  ...{ name_label, name_description, virtual_size, type, sharable, read_only },
  other_config: 'config-drive' in other_config ? { 'config-drive': other_config['config-drive'] } : {},
});

const toMember = async (context, vm, host, vdiMap) => {
  const { db, xapi } = context;
  const attached = new Set(
    db
      .childrenOf('PBD', 'host', host)
      .map((ref) => db.get('PBD', ref))
      .filter((p) => p.currently_attached)
      .map((p) => p.SR),
  );
  assertMapped(db, vm, vdiMap);
  for (const sr of Object.values(vdiMap)) if (!attached.has(sr)) fail('VM_REQUIRES_SR', vm, sr);
  assertCanBoot(db, vm, host, { storage: false });
  const { uuid, power_state: power } = db.get('VM', vm);
  const live = power === 'Running';
  await ejectMovingCds(context, vm, (vdi, sr) => vdiMap[vdi] === sr);
  const move = async () => {
    for (const [vbd, { VDI: vdi, userdevice }] of disksOf(db, vm)) {
      const old = db.get('VDI', vdi);
      if (vdiMap[vdi] === old.SR) continue;
      const copy = db.create('VDI', { ...copied(old), managed: true, SR: vdiMap[vdi] });
      const { uuid: name } = db.get('VDI', copy);
      db.set('VDI', copy, { location: name });
      // The guest keeps the file that it has open.
      await xapi.disks.rename(old.uuid, name);
      if (live) await xapi.guests.moveDisk(uuid, userdevice, xapi.disks.path(name));
      db.set('VBD', vbd, { VDI: copy });
      db.destroy('VDI', vdi);
    }
  };
  await (live ? xapi.guests.quiesced(uuid, move) : move());
  if (live) markRunning(context, vm, host);
  else db.set('VM', vm, { affinity: host });
  return vm;
};

/** Another pool, asked as its clients ask it. */
const remote = ({ master, session_id: session }) => ({
  call: async (method, ...params) => {
    const response = await fetch(new URL('/jsonrpc', master), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: [session, ...params] }),
    });
    const { result, error } = await response.json();
    if (error) throw new XapiFailure(error.message, ...error.data);
    return result;
  },
  upload: async (vdi, body) => {
    const url = new URL(`/import_raw_vdi?vdi=${vdi}&format=vhd&session_id=${session}`, master);
    const parts = [];
    for await (const part of body) parts.push(part);
    const response = await fetch(url, { method: 'PUT', body: Buffer.concat(parts) });
    await response.arrayBuffer();
    if (!response.ok) fail('VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED');
  },
});

const only = (record, fields) => Object.fromEntries(fields.filter((f) => f in record).map((f) => [f, record[f]]));

const toPool = async (context, vm, dest, vdiMap, vifMap) => {
  const { db, xapi } = context;
  const { schema } = xapi;
  assertMapped(db, vm, vdiMap);
  const vifs = db.childrenOf('VIF', 'VM', vm);
  for (const vif of vifs) if (!(vif in vifMap)) fail('VIF_NOT_IN_MAP', vif);
  const target = remote(dest);
  const { uuid, power_state: power } = db.get('VM', vm);
  const fieldsOf = (name) => schema.constructorFields(name).map((f) => f.name);
  const made = [];
  await ejectMovingCds(context, vm, () => false);
  const saved = power === 'Running' ? `${xapi.disks.path(uuid)}.memory` : null;
  if (saved) await xapi.guests.save(uuid, saved);
  try {
    const vbds = [];
    for (const vbd of db.childrenOf('VBD', 'VM', vm).map((ref) => db.get('VBD', ref))) {
      if (vbd.VDI === NULL_REF) {
        vbds.push(only(vbd, fieldsOf('VBD')));
        continue;
      }
      const disk = db.get('VDI', vbd.VDI);
      const vdi = await target.call('VDI.create', { ...copied(disk), SR: vdiMap[vbd.VDI] });
      made.push(vdi);
      await target.upload(vdi, xapi.disks.read(disk.uuid, 'vhd', disk.virtual_size));
      vbds.push({ ...only(vbd, fieldsOf('VBD')), VDI: vdi });
    }
    const body = {
      host: dest.host,
      vm: { ...only(db.get('VM', vm), fieldsOf('VM')), uuid },
      vbds,
      vifs: vifs.map((ref) => ({ ...only(db.get('VIF', ref), fieldsOf('VIF')), network: vifMap[ref] })),
      saved,
    };
    const response = await fetch(dest.xenops, { method: 'POST', body: JSON.stringify(body) });
    const answer = await response.json();
    if (!response.ok) throw new XapiFailure(...answer.error);
    await forgetHere(context, vm, power);
    return answer.vm;
  } catch (error) {
    for (const vdi of made) await target.call('VDI.destroy', vdi).catch(() => {});
    if (saved) await xapi.guests.boot(guestSpec(context, vm), { saved });
    throw error;
  } finally {
    if (saved) await rm(saved, { force: true });
  }
};

const forgetHere = async (context, vm, power) => {
  const { db } = context;
  const vdis = disksOf(db, vm).map(([, { VDI: vdi }]) => vdi);
  if (power === 'Running') markStopped(context, vm, 'Halted');
  for (const ref of [...db.childrenOf('VBD', 'VM', vm)]) db.destroy('VBD', ref);
  for (const ref of [...db.childrenOf('VIF', 'VM', vm)]) db.destroy('VIF', ref);
  db.destroy('VM_metrics', db.get('VM', vm).metrics);
  db.destroy('VM', vm);
  for (const vdi of vdis) await removeVdi(context, vdi);
};

/** What another pool sends: the VM with its identity, and its memory when it ran. */
export const receiveVm = async (context, { host, vm: record, vbds, vifs, saved }) => {
  const { db, xapi } = context;
  const vm = db.create('VM', {
    ...record,
    power_state: 'Halted',
    domid: -1,
    memory_overhead: 9 * 2 ** 20,
    metrics: db.create('VM_metrics', {}),
  });
  for (const vbd of vbds) db.create('VBD', { ...vbd, VM: vm });
  for (const vif of vifs) db.create('VIF', { ...vif, VM: vm, currently_attached: false });
  if (saved) {
    assertCanBoot(db, vm, host);
    await xapi.guests.boot(guestSpec(context, vm), { saved });
    markRunning(context, vm, host);
  }
  return vm;
};

export const operations = {
  'VM.pool_migrate': async (context, vm, host) => {
    if (!context.db.has('host', host)) fail('HANDLE_INVALID', 'host', host);
    await moveInPool(context, vm, host);
    return '';
  },
  'VM.migrate_send': (context, vm, dest, _live, vdiMap, vifMap) =>
    asOperation(context, vm, 'migrate_send', () =>
      context.db.has('host', dest.host)
        ? toMember(context, vm, dest.host, vdiMap)
        : toPool(context, vm, dest, vdiMap, vifMap),
    ),
};

export const calls = {
  'VM.assert_can_migrate': ({ db }, vm, dest, _live, vdiMap, vifMap) => {
    const error = operationError(db, vm, 'migrate_send');
    if (error) throw error;
    const inside = db.has('host', dest.host);
    assertMapped(db, vm, vdiMap);
    if (!inside) for (const vif of db.childrenOf('VIF', 'VM', vm)) if (!(vif in vifMap)) fail('VIF_NOT_IN_MAP', vif);
    if (inside) assertCanBoot(db, vm, dest.host, { storage: false });
    return '';
  },
};
