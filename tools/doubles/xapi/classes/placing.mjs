import { fail, XapiFailure } from '../model/failure.mjs';
import { NULL_REF } from '../model/types.mjs';
import { domainType } from './vm-rules.mjs';

/** Bytes of a member that no VM has. Counted is what running VMs were promised at least. */
export const freeMemory = (db, host) => {
  const { metrics, memory_overhead: overhead } = db.get('host', host);
  const used = db
    .childrenOf('VM', 'resident_on', host)
    .map((vm) => db.get('VM', vm))
    .reduce((sum, { memory_dynamic_min: memory, memory_overhead: extra }) => sum + memory + extra, 0);
  return db.get('host_metrics', metrics).memory_total - overhead - used;
};

const seesStorage = (db, host, sr) =>
  db.childrenOf('PBD', 'SR', sr).some((ref) => {
    const pbd = db.get('PBD', ref);
    return pbd.host === host && pbd.currently_attached;
  });

/** A network without a physical interface is inside one member; any can make it. */
const seesNetwork = (db, host, network) => {
  const pifs = db.childrenOf('PIF', 'network', network).map((ref) => db.get('PIF', ref));
  return pifs.length === 0 || pifs.some((pif) => pif.host === host && pif.currently_attached);
};

/** @returns {string[]} the storage that the VM's disks are on */
export const storageOf = (db, vm) => {
  const vdis = db.childrenOf('VBD', 'VM', vm).map((ref) => db.get('VBD', ref).VDI);
  return [...new Set(vdis.filter((vdi) => vdi !== NULL_REF).map((vdi) => db.get('VDI', vdi).SR))];
};

/** @throws {XapiFailure} the first reason why a member cannot run the VM */
export const assertCanBoot = (db, vm, host, { storage = true } = {}) => {
  const record = db.get('VM', vm);
  const { enabled, metrics, capabilities, cpu_info: cpu } = db.get('host', host);
  if (record.VCPUs_max < 1) fail('INVALID_VALUE', 'VCPUs_max', record.VCPUs_max);
  if (record.VCPUs_at_startup < 1) fail('INVALID_VALUE', 'VCPUs-at-startup', record.VCPUs_at_startup);
  if (record.VCPUs_at_startup > record.VCPUs_max)
    fail('VALUE_NOT_SUPPORTED', 'VCPUs-at-startup', record.VCPUs_at_startup, 'value greater than VCPUs-max');
  if (!db.get('host_metrics', metrics).live) fail('HOST_NOT_LIVE');
  if (!enabled) fail('HOST_DISABLED', host);
  if (storage) for (const sr of storageOf(db, vm)) if (!seesStorage(db, host, sr)) fail('VM_REQUIRES_SR', vm, sr);
  for (const vif of db.childrenOf('VIF', 'VM', vm)) {
    const { network } = db.get('VIF', vif);
    if (!seesNetwork(db, host, network)) fail('VM_REQUIRES_NETWORK', vm, network);
  }
  if (domainType(record) !== 'pv' && !capabilities.some((c) => c.startsWith('hvm'))) fail('VM_HVM_REQUIRED', vm);
  const needed = record.memory_dynamic_min + record.memory_overhead;
  const free = freeMemory(db, host);
  if (needed > free) fail('HOST_NOT_ENOUGH_FREE_MEMORY', needed, free);
  if (record.VCPUs_max > Number(cpu.cpu_count) * 8) fail('HOST_NOT_ENOUGH_PCPUS', record.VCPUs_max, cpu.cpu_count);
};

export const canBoot = (db, vm, host) => {
  try {
    assertCanBoot(db, vm, host);
    return true;
  } catch (error) {
    if (error instanceof XapiFailure) return false;
    throw error;
  }
};

/** The member a VM prefers, else the one with the most free memory. @returns {string} */
export const chooseHost = (db, vm) => {
  const hosts = db.refs('host').filter((host) => canBoot(db, vm, host));
  if (hosts.length === 0) fail('NO_HOSTS_AVAILABLE');
  const { affinity } = db.get('VM', vm);
  return hosts.includes(affinity) ? affinity : hosts.sort((a, b) => freeMemory(db, b) - freeMemory(db, a))[0];
};
