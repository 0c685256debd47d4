import { setTimeout as sleep } from 'node:timers/promises';
import { fail } from '../model/failure.mjs';
import { dateTime, EPOCH, NULL_REF } from '../model/types.mjs';
import { domainType, operationError } from './vm-rules.mjs';

/** @typedef {import('../model/xapi.mjs').Context} Context */

const MIB = 2 ** 20;

/** What an operation takes before it does anything; until then it can be cancelled. @param {number} milliseconds */
export const lasting = async ({ task, signal }, milliseconds) => {
  if (milliseconds > 0) await sleep(milliseconds, undefined, { signal }).catch(() => {});
  if (signal.aborted) fail('TASK_CANCELLED', task);
};

/** Runs `action` as the operation `op` of a VM; others see it among its current operations. */
export const asOperation = async ({ db, task, xapi, signal }, vm, op, action) => {
  const error = operationError(db, vm, op);
  if (error) throw error;
  const { current_operations: before } = db.get('VM', vm);
  db.set('VM', vm, { current_operations: { ...before, [task]: op } });
  try {
    await lasting({ task, signal }, xapi.settings.latencies[op] ?? xapi.settings.latency);
    return await action();
  } finally {
    if (db.has('VM', vm)) {
      const { [task]: _, ...left } = db.get('VM', vm).current_operations;
      db.set('VM', vm, { current_operations: left });
    }
  }
};

export const diskOf = ({ db, xapi }, vbd) => {
  const { userdevice, VDI: vdi, type, mode, bootable } = db.get('VBD', vbd);
  const path = vdi === NULL_REF ? null : xapi.disks.path(db.get('VDI', vdi).uuid);
  return { device: userdevice, path, cd: type === 'CD', readOnly: mode === 'RO', bootable };
};
export const nicOf = ({ db }, vif) => {
  const { device, MAC: mac } = db.get('VIF', vif);
  return { device, mac };
};

/** @param {{ db: any, xapi: any }} context @returns {import('../guests/record-guests.mjs').GuestSpec} */
export const guestSpec = (context, vm) => {
  const { db } = context;
  const { uuid, name_label: name, memory_static_max: memory, VCPUs_at_startup: vcpus } = db.get('VM', vm);
  const byDevice = (a, b) => Number(a.device) - Number(b.device);
  return {
    uuid,
    name,
    memoryMib: Math.floor(memory / MIB),
    vcpus,
    disks: db
      .childrenOf('VBD', 'VM', vm)
      .map((vbd) => diskOf(context, vbd))
      .sort(byDevice),
    nics: db
      .childrenOf('VIF', 'VM', vm)
      .map((vif) => nicOf(context, vif))
      .sort(byDevice),
  };
};

/** A disk that one VM writes to is no other VM's at the same time. */
export const assertDiskIsFree = (db, vbd) => {
  const { VDI: vdi, mode } = db.get('VBD', vbd);
  if (vdi === NULL_REF) return;
  const { sharable, read_only: readOnly } = db.get('VDI', vdi);
  const others = db
    .childrenOf('VBD', 'VDI', vdi)
    .filter((other) => other !== vbd)
    .map((other) => db.get('VBD', other))
    .filter((other) => other.currently_attached && db.get('VM', other.VM).power_state !== 'Suspended');
  const written = others.some((other) => other.mode === 'RW') || (mode === 'RW' && others.length > 0);
  if (!sharable && written) fail('VDI_IN_USE', vdi, 'attach');
  if (mode === 'RW' && readOnly) fail('VDI_READONLY', vdi);
};

const linuxName = (userdevice) => `xvd${String.fromCharCode(97 + Number(userdevice))}`;

/** The VM has become a domain of this member. */
export const markRunning = ({ db, xapi }, vm, host, power = 'Running') => {
  const record = db.get('VM', vm);
  const type = domainType(record);
  const metrics = {
    memory_actual: record.memory_static_max,
    VCPUs_number: record.VCPUs_at_startup,
    state: [power.toLowerCase()],
    start_time: dateTime(),
    last_updated: dateTime(),
    hvm: type === 'hvm',
    current_domain_type: type,
  };
  db.set('VM_metrics', record.metrics, metrics);
  db.set('VM', vm, {
    power_state: power,
    resident_on: host,
    domid: xapi.nextDomainId(),
    domain_type: type,
    VCPUs_at_startup: record.VCPUs_at_startup,
  });
  for (const vbd of db.childrenOf('VBD', 'VM', vm))
    db.set('VBD', vbd, { currently_attached: true, device: linuxName(db.get('VBD', vbd).userdevice) });
  for (const vif of db.childrenOf('VIF', 'VM', vm)) db.set('VIF', vif, { currently_attached: true });
  makeConsoles({ db, xapi }, vm, host, type);
};

/** A text console is there where the guest has a paravirtual one. */
const makeConsoles = ({ db, xapi }, vm, host, type) => {
  for (const ref of db.childrenOf('console', 'VM', vm)) db.destroy('console', ref);
  for (const protocol of type === 'hvm' ? ['rfb'] : ['rfb', 'vt100']) {
    const ref = db.create('console', { protocol, VM: vm });
    const location = `${xapi.settings.scheme}://${xapi.addressOf(host)}/console?uuid=${db.get('console', ref).uuid}`;
    db.set('console', ref, { location });
  }
};

/** What the guest's tools say of it, once they run. */
export const reportGuest = (db, vm, facts) => {
  const { guest_metrics: ref } = db.get('VM', vm);
  const changes = { last_updated: dateTime(), live: true, ...facts };
  if (ref !== NULL_REF && db.has('VM_guest_metrics', ref)) db.set('VM_guest_metrics', ref, changes);
  else db.set('VM', vm, { guest_metrics: db.create('VM_guest_metrics', changes) });
};
export const forgetGuest = (db, vm) => {
  const { guest_metrics: ref } = db.get('VM', vm);
  if (ref === NULL_REF) return;
  db.set('VM', vm, { guest_metrics: NULL_REF });
  if (db.has('VM_guest_metrics', ref)) db.destroy('VM_guest_metrics', ref);
};

/** The VM is a domain no more. @param {'Halted' | 'Suspended'} power */
export const markStopped = ({ db }, vm, power) => {
  for (const ref of db.childrenOf('console', 'VM', vm)) db.destroy('console', ref);
  if (power === 'Halted') {
    for (const vbd of db.childrenOf('VBD', 'VM', vm)) db.set('VBD', vbd, { currently_attached: false });
    for (const vif of db.childrenOf('VIF', 'VM', vm)) db.set('VIF', vif, { currently_attached: false });
  }
  db.set('VM_metrics', db.get('VM', vm).metrics, {
    ...{ memory_actual: 0, VCPUs_number: 0, state: [], start_time: EPOCH, current_domain_type: 'unspecified' },
  });
  db.set('VM', vm, { power_state: power, resident_on: NULL_REF, domid: -1 });
};
