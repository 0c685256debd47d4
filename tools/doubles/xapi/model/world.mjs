import { randomUUID } from 'node:crypto';
import { NULL_REF } from './types.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/**
 * The pool as it is when the double starts for the first time: its members with two interfaces each, their networks,
 * storage, control domains and the template that every installation has.
 * @param {import('./database.mjs').Database} db
 * @param {import('../options.mjs').Settings} settings
 */
export const makeWorld = (db, settings) => {
  const hosts = settings.addresses.map((address, n) => makeHost(db, settings, address, n));
  for (const device of ['eth0', 'eth1']) makeNetwork(db, hosts, device);
  const storage = settings.storage.flatMap((kind) =>
    kind.shared ? [makeStorage(db, kind, hosts)] : hosts.map((host) => makeStorage(db, kind, [host])),
  );
  const shared = storage.find((sr) => db.get('SR', sr).shared) ?? storage[0] ?? NULL_REF;
  for (const host of hosts) db.set('host', host, { suspend_image_sr: shared });
  const restricted = (feature) => String(settings.restrictions.includes(feature));
  db.create('pool', {
    ...{ name_label: 'double', master: hosts[0], default_SR: shared, suspend_image_SR: shared },
    restrictions: {
      restrict_vif_locking: restricted('VIF_locking'),
      restrict_vm_start: restricted('VM_start'),
    },
  });
  makeTemplate(db);
};

const makeHost = (db, { memoryMib, cpus, release, brand }, address, n) => {
  const metrics = db.create('host_metrics', { memory_total: memoryMib * MIB, live: true });
  const name = `xs${n + 1}`;
  const host = db.create('host', {
    ...{ name_label: name, hostname: name, address, enabled: true, metrics },
    memory_overhead: 512 * MIB,
    API_version_major: 2,
    API_version_minor: 21,
    API_version_vendor: 'XenSource',
    software_version: { product_brand: brand, product_version: '8.4.0', xapi: release, xen: '4.17' },
    capabilities: ['xen-3.0-x86_64', 'hvm-3.0-x86_32', 'hvm-3.0-x86_64'],
    supported_bootloaders: ['pygrub', 'eliloader'],
    cpu_info: {
      ...{ cpu_count: String(cpus), socket_count: '1', vendor: 'AuthenticAMD', speed: '2794.750' },
      modelname: 'Double CPU',
      features_hvm: '00000000-00000000-00000000',
    },
    edition: 'enterprise-per-socket',
  });
  for (let number = 0; number < cpus; number++)
    db.create('host_cpu', {
      host,
      number,
      vendor: 'AuthenticAMD',
      modelname: 'Double CPU',
      flags: CPU_FLAGS,
      speed: 2794,
    });
  const control = db.create('VM', {
    name_label: `Control domain on host: ${name}`,
    ...{ is_control_domain: true, power_state: 'Running', resident_on: host, domid: 0, domain_type: 'pv' },
    ...{ VCPUs_max: 2, VCPUs_at_startup: 2 },
    ...memory(1024 * MIB),
    metrics: db.create('VM_metrics', { VCPUs_number: 2, memory_actual: 1024 * MIB }),
  });
  db.set('host', host, { control_domain: control });
  return host;
};

const CPU_FLAGS = 'fpu de tsc msr pae mce cx8 apic sep mmx fxsr sse sse2 sse3 ssse3 sse4_1 sse4_2 aes avx avx2 svm lm';

const memory = (bytes) => ({
  memory_static_min: bytes,
  memory_static_max: bytes,
  memory_dynamic_min: bytes,
  memory_dynamic_max: bytes,
});

const makeNetwork = (db, hosts, device) => {
  const management = device === 'eth0';
  const network = db.create('network', {
    name_label: `Pool-wide network associated with ${device}`,
    bridge: `xenbr${device.slice(3)}`,
    MTU: 1500,
  });
  hosts.forEach((host, n) => {
    const octet = (n + 1).toString(16).padStart(2, '0');
    db.create('PIF', {
      ...{ device, network, host, MTU: 1500, VLAN: -1, physical: true, currently_attached: true, management },
      MAC: `52:54:00:00:${octet}:0${device.slice(3)}`,
      ip_configuration_mode: management ? 'Static' : 'None',
      IP: management ? db.get('host', host).address : '',
    });
  });
};

const makeStorage = (db, { name, type, gib, shared }, hosts) => {
  const sr = db.create('SR', {
    ...{ name_label: name, type, shared, content_type: 'user', physical_size: gib * GIB },
    other_config: {},
  });
  for (const host of hosts) db.create('PBD', { host, SR: sr, currently_attached: true, device_config: {} });
  return sr;
};

const makeTemplate = (db) =>
  db.create('VM', {
    ...{ name_label: 'Other install media', is_a_template: true, is_default_template: true, domain_type: 'hvm' },
    ...{ VCPUs_max: 1, VCPUs_at_startup: 1, user_version: 1 },
    ...memory(1024 * MIB),
    HVM_boot_policy: 'BIOS order',
    HVM_boot_params: { order: 'dc', firmware: 'bios' },
    platform: { acpi: '1', apic: 'true', nx: 'true', pae: 'true', vga: 'std', videoram: '8', viridian: 'true' },
    actions_after_shutdown: 'destroy',
    actions_after_reboot: 'restart',
    actions_after_crash: 'restart',
    other_config: { mac_seed: randomUUID(), 'install-methods': 'cdrom', default_template: 'true' },
    recommendations: '<restrictions/>',
    domid: -1,
    metrics: db.create('VM_metrics', {}),
  });

/** Fields that follow from others. */
export const derivedFields = (db, allowedOperations, used) => ({
  VM: { allowed_operations: (ref) => allowedOperations(db, ref) },
  SR: {
    virtual_allocation: (ref) =>
      db.childrenOf('VDI', 'SR', ref).reduce((n, vdi) => n + db.get('VDI', vdi).virtual_size, 0),
    physical_utilisation: (ref) =>
      db.childrenOf('VDI', 'SR', ref).reduce((n, vdi) => n + used(db.get('VDI', vdi).uuid), 0),
  },
  VDI: { physical_utilisation: (_, { uuid }) => used(uuid) },
  host_metrics: { last_updated: () => new Date().toISOString().replace(/[-]|\.\d+/g, '') },
});
