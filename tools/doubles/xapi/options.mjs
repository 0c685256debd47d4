/**
 * @typedef {object} Settings
 * @property {string} stateDir where the database, disks and guests lie
 * @property {'record' | 'qemu'} guests `record`: VM.start changes records only; `qemu`: it boots the VM's disks
 * @property {number} port of every member; 0 for one that is free on all of their addresses
 * @property {string[]} addresses one for each member, the first is the master at the beginning
 * @property {{ key: string, cert: string } | null} tls PEM texts
 * @property {{ name: string, password: string, role: string }[]} users
 * @property {string} release of the data model
 * @property {number} memoryMib of each member
 * @property {number} cpus of each member
 * @property {{ name: string, type: string, gib: number, shared: boolean }[]} storage a local one is there on each member
 * @property {string} brand of the product, as `software_version` names it
 * @property {string[]} restrictions features without a licence: `VIF_locking`, `VM_start`
 * @property {number} latency milliseconds that each operation of a VM takes
 * @property {Record<string, number>} latencies the same for operations by name, also of disks: `pool_migrate`, `clone`
 * @property {number} shutdownPatience milliseconds that a guest gets to follow a clean shutdown
 * @property {boolean} guestTools guests report tools as soon as they run
 * @property {null | 'crash' | 'reboot'} guestsEnd how records of guests end as soon as they run; null: they go on
 * @property {boolean} durable each change is on disk before its answer goes out
 * @property {string} scheme follows from `tls`
 */

/** @type {Omit<Settings, 'stateDir' | 'scheme'>} */
const PRESETS = {
  guests: 'record',
  port: 0,
  addresses: ['127.0.0.1'],
  tls: null,
  users: [{ name: 'root', password: 'secret', role: 'pool-admin' }],
  release: '26.17.0',
  memoryMib: 16_384,
  cpus: 8,
  storage: [
    { name: 'Local storage', type: 'ext', gib: 200, shared: false },
    { name: 'NFS virtual disk storage', type: 'nfs', gib: 1000, shared: true },
  ],
  brand: 'XAPI double',
  restrictions: [],
  latency: 0,
  latencies: {},
  shutdownPatience: 60_000,
  guestTools: true,
  guestsEnd: null,
  durable: false,
};

/** @param {Partial<Settings> & { stateDir: string }} given @returns {Settings} */
export const settingsFrom = (given) => {
  for (const name of Object.keys(given))
    if (!(name in PRESETS) && name !== 'stateDir') throw new Error(`there is no setting ${name}`);
  return { ...PRESETS, ...given, scheme: given.tls ? 'https' : 'http' };
};
