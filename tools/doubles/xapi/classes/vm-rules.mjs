import { XapiFailure } from '../model/failure.mjs';
import { NULL_REF } from '../model/types.mjs';

const ANY = ['Halted', 'Paused', 'Suspended', 'Running'];

/** In which power states an operation may begin. */
const POWER = {
  start: ['Halted'],
  start_on: ['Halted'],
  provision: ['Halted'],
  changing_VCPUs: ['Halted'],
  changing_memory_limits: ['Halted'],
  changing_static_range: ['Halted'],
  clone: ['Halted'],
  copy: ['Halted'],
  unpause: ['Paused'],
  resume: ['Suspended'],
  resume_on: ['Suspended'],
  pause: ['Running'],
  suspend: ['Running'],
  clean_shutdown: ['Running'],
  clean_reboot: ['Running'],
  pool_migrate: ['Running'],
  data_source_op: ['Running'],
  destroy: ['Halted', 'Suspended'],
  export: ['Halted', 'Suspended'],
  hard_reboot: ['Paused', 'Running'],
  hard_shutdown: ['Paused', 'Suspended', 'Running'],
  migrate_send: ['Halted', 'Suspended', 'Running'],
  power_state_reset: ANY,
  snapshot: ANY,
};
const TEMPLATE = new Set([
  'changing_memory_limits',
  'changing_static_range',
  'changing_VCPUs',
  'clone',
  'copy',
  'export',
]);
const FOR_GUEST = new Set(['suspend', 'pool_migrate', 'migrate_send']);

/** `hvm`, `pv`, `pvh` or `pv_in_pvh`: what runs, else what will. */
export const domainType = (record) =>
  record.domain_type && record.domain_type !== 'unspecified'
    ? record.domain_type
    : record.HVM_boot_policy === ''
      ? 'pv'
      : 'hvm';

export const guestMetrics = (db, vm) => {
  const { guest_metrics: ref } = db.get('VM', vm);
  return ref === NULL_REF || !db.has('VM_guest_metrics', ref) ? null : db.get('VM_guest_metrics', ref);
};
const hasDrivers = (db, vm, record) =>
  domainType(record) !== 'hvm' || guestMetrics(db, vm)?.PV_drivers_detected === true;

const mayRunBeside = (op, current) => {
  const others = Object.values(current);
  if (op === 'hard_shutdown') return !others.includes(op);
  if (op === 'hard_reboot') return !others.some((o) => o === 'hard_shutdown' || o === 'hard_reboot');
  if (op === 'snapshot') return others.every((o) => o === 'snapshot' || o === 'checkpoint');
  return ['clone', 'copy', 'export'].includes(op) && others.every((o) => ['clone', 'copy', 'export'].includes(o));
};

/**
 * Why an operation may not begin now; null when it may.
 * @param {import('../model/database.mjs').Database} db
 * @returns {XapiFailure | null}
 */
export const operationError = (db, vm, op) => {
  const record = db.get('VM', vm);
  const refuse = (code, ...params) => new XapiFailure(code, ...params);
  const blocked = record.blocked_operations[op];
  if (blocked !== undefined) return refuse('OPERATION_BLOCKED', vm, blocked);
  const states = POWER[op] ?? [];
  if (!states.includes(record.power_state))
    return refuse('VM_BAD_POWER_STATE', vm, states.join(', ').toLowerCase(), record.power_state.toLowerCase());
  const current = Object.entries(record.current_operations);
  if (current.length > 0 && !mayRunBeside(op, record.current_operations)) {
    const join = (items) => (items.length === 1 ? items[0] : `{${items.join(',')}}`);
    return refuse(
      'OTHER_OPERATION_IN_PROGRESS',
      'VM',
      vm,
      join(current.map(([, o]) => o)),
      join(current.map(([t]) => t)),
    );
  }
  if (record.is_a_template && !record.is_a_snapshot) {
    const own = !record.is_default_template && (op === 'destroy' || op === 'migrate_send');
    if (!TEMPLATE.has(op) && !own) return refuse('VM_IS_TEMPLATE', vm, op);
  }
  if (record.is_a_snapshot && !['clone', 'copy', 'export', 'destroy', 'hard_shutdown'].includes(op))
    return refuse('VM_IS_SNAPSHOT', vm, op);
  if (FOR_GUEST.has(op) && record.platform.nomigrate === 'true') return refuse('VM_IS_IMMOBILE', vm);
  if (record.is_control_domain && !['data_source_op', 'changing_memory_limits'].includes(op))
    return refuse('OPERATION_NOT_ALLOWED', 'This operation is not allowed on a control domain');
  const live = record.power_state === 'Running' || record.power_state === 'Paused';
  if (live && (FOR_GUEST.has(op) || op === 'clean_shutdown' || op === 'clean_reboot'))
    if (!hasDrivers(db, vm, record)) return refuse('VM_LACKS_FEATURE', vm);
  return null;
};

/** @returns {string[]} */
export const allowedOperations = (db, vm) =>
  Object.keys(POWER).filter((op) => op !== 'power_state_reset' && operationError(db, vm, op) === null);

/** Plugging and unplugging need a running guest that can. */
export const hotplugError = (db, kind, ref, op) => {
  const device = db.get(kind, ref);
  const { VM: vm } = device;
  const record = db.get('VM', vm);
  const refuse = (code, ...params) => new XapiFailure(code, ...params);
  if (op !== 'plug' && kind === 'VBD' && !device.unpluggable) return refuse('VBD_NOT_UNPLUGGABLE', ref);
  if (record.power_state !== 'Running')
    return refuse('VM_BAD_POWER_STATE', vm, 'running', record.power_state.toLowerCase());
  if (op === 'plug' && device.currently_attached) return refuse('DEVICE_ALREADY_ATTACHED', ref);
  if (op !== 'plug' && !device.currently_attached) return refuse('DEVICE_ALREADY_DETACHED', ref);
  const busy = Object.values(record.current_operations).find((o) =>
    ['clean_shutdown', 'hard_shutdown', 'suspend', 'pause'].includes(o),
  );
  if (busy) return refuse('OPERATION_NOT_ALLOWED', `Current operation on VM:${vm} is ${busy}`);
  if (!hasDrivers(db, vm, record)) return refuse('VM_MISSING_PV_DRIVERS', vm);
  if (kind === 'VBD' && device.type === 'CD' && domainType(record) === 'hvm')
    return refuse('OPERATION_NOT_ALLOWED', 'HVM CDROMs cannot be hotplugged/unplugged, only inserted or ejected');
  return null;
};
