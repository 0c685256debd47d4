import { randomUUID } from 'node:crypto';
import { fail, XapiFailure } from '../model/failure.mjs';
import { EPOCH, NULL_REF } from '../model/types.mjs';
import { forgetGuest } from './domain.mjs';
import { assertCanBoot, canBoot } from './placing.mjs';
import { operationError } from './vm-rules.mjs';

const assertAllowed = (db, vm, op) => {
  const error = operationError(db, vm, op);
  if (error) throw error;
};

/** Free numbers of devices, as text. */
const freeDevices = (used, count) =>
  Array.from({ length: count }, (_, n) => String(n)).filter((device) => !used.includes(device));

const setField =
  (field, check = () => {}) =>
  ({ db }, vm, value) => {
    check(db, vm, value);
    db.set('VM', vm, { [field]: value });
    return '';
  };
const addTo =
  (field) =>
  ({ db }, vm, key, value) => {
    const { [field]: map, uuid } = db.get('VM', vm);
    if (Object.hasOwn(map, key)) fail('MAP_DUPLICATE_KEY', 'VM', field, uuid, key);
    db.set('VM', vm, { [field]: { ...map, [key]: value } });
    return '';
  };
const removeFrom =
  (field) =>
  ({ db }, vm, key) => {
    const { [key]: _, ...left } = db.get('VM', vm)[field];
    db.set('VM', vm, { [field]: left });
    return '';
  };

export const calls = {
  'VM.create': ({ db }, args) => {
    if (args.power_state === 'Suspended') fail('VM_BAD_POWER_STATE', NULL_REF, 'halted', 'suspended');
    const domain = args.domain_type && args.domain_type !== 'unspecified' ? args.domain_type : null;
    return db.create('VM', {
      ...args,
      other_config: { mac_seed: randomUUID(), ...args.other_config },
      domain_type: domain ?? (args.HVM_boot_policy ? 'hvm' : 'pv'),
      power_state: 'Halted',
      suspend_VDI: NULL_REF,
      blocked_operations: {},
      domid: -1,
      memory_overhead: 9 * 2 ** 20,
      metrics: db.create('VM_metrics', { start_time: EPOCH }),
    });
  },

  'VM.destroy': ({ db }, vm) => {
    assertAllowed(db, vm, 'destroy');
    for (const ref of db.childrenOf('VBD', 'VM', vm)) db.destroy('VBD', ref);
    for (const ref of db.childrenOf('VIF', 'VM', vm)) db.destroy('VIF', ref);
    forgetGuest(db, vm);
    db.destroy('VM_metrics', db.get('VM', vm).metrics);
    db.destroy('VM', vm);
    return '';
  },

  'VM.get_allowed_VBD_devices': ({ db }, vm) =>
    freeDevices(
      db.childrenOf('VBD', 'VM', vm).map((vbd) => db.get('VBD', vbd).userdevice),
      255,
    ),
  'VM.get_allowed_VIF_devices': ({ db }, vm) =>
    freeDevices(
      db.childrenOf('VIF', 'VM', vm).map((vif) => db.get('VIF', vif).device),
      16,
    ),
  'VM.get_possible_hosts': ({ db }, vm) => db.refs('host').filter((host) => canBoot(db, vm, host)),
  'VM.assert_can_boot_here': ({ db }, vm, host) => {
    assertCanBoot(db, vm, host);
    return '';
  },

  'VM.set_memory_limits': ({ db }, vm, staticMin, staticMax, dynamicMin, dynamicMax) => {
    assertAllowed(db, vm, 'changing_memory_limits');
    if (!(staticMin <= dynamicMin && dynamicMin <= dynamicMax && dynamicMax <= staticMax))
      fail('MEMORY_CONSTRAINT_VIOLATION_ORDER');
    db.set('VM', vm, {
      memory_static_min: staticMin,
      memory_static_max: staticMax,
      memory_dynamic_min: dynamicMin,
      memory_dynamic_max: dynamicMax,
      memory_target: dynamicMax,
    });
    return '';
  },

  'VM.set_VCPUs_max': setField('VCPUs_max', (db, vm, value) => {
    assertAllowed(db, vm, 'changing_VCPUs');
    if (value < 1) fail('INVALID_VALUE', 'VCPUs_max', value);
    const { VCPUs_at_startup: atStartup } = db.get('VM', vm);
    if (atStartup > value) fail('VALUE_NOT_SUPPORTED', 'VCPUs-at-startup', atStartup, 'value greater than VCPUs-max');
  }),
  'VM.set_VCPUs_at_startup': setField('VCPUs_at_startup', (db, vm, value) => {
    assertAllowed(db, vm, 'changing_VCPUs');
    if (value < 1) fail('INVALID_VALUE', 'VCPUs-at-startup', value);
    if (value > db.get('VM', vm).VCPUs_max)
      fail('VALUE_NOT_SUPPORTED', 'VCPUs-at-startup', value, 'value greater than VCPUs-max');
  }),
  'VM.set_domain_type': ({ db }, vm, value) => {
    const { power_state: power } = db.get('VM', vm);
    if (power !== 'Halted') throw new XapiFailure('VM_BAD_POWER_STATE', vm, 'halted', power.toLowerCase());
    // The older field follows.
    db.set('VM', vm, { domain_type: value, HVM_boot_policy: value === 'hvm' ? 'BIOS order' : '' });
    return '';
  },
  'VM.set_platform': setField('platform'),
  'VM.add_to_platform': addTo('platform'),
  'VM.remove_from_platform': removeFrom('platform'),
  'VM.set_other_config': setField('other_config'),
  'VM.add_to_other_config': addTo('other_config'),
  'VM.remove_from_other_config': removeFrom('other_config'),
  'VM.set_blocked_operations': setField('blocked_operations'),
  'VM.add_to_blocked_operations': addTo('blocked_operations'),
  'VM.remove_from_blocked_operations': removeFrom('blocked_operations'),
};
