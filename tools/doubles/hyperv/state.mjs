import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorRecord } from './errors.mjs';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

/** A host as it comes out of the box: Windows Server 2022 with an external switch. */
const defaults = {
  name: 'HV1',
  domain: null,
  product: 'Windows Server 2022 Standard',
  language: 'en',
  build: 20348,
  powershell: '5.1.20348.2227',
  module: true,
  managementService: 'Running',
  /** What the account may that the script runs in. */
  account: { isHyperVAdministrator: true, asksWmi: true, opensPipes: true, readsDirectory: true },
  processors: 8,
  memory: 64 * GIB,
  freeBytes: 900 * GIB,
  totalBytes: 1000 * GIB,
  root: 'C:\\ProgramData\\Omnivisor',
  migration: { enabled: false, authentication: 'CredSSP', delegatesTo: [] },
  switches: [{ Name: 'External', Id: randomUUID(), SwitchType: 'External' }],
};

/** What is on the host, kept in `<dir>/state.json`; its drive C is the folder `<dir>/C`, or one that several hosts have. */
export class HostState {
  constructor(dir, options = {}, drive = join(dir, 'C')) {
    this.dir = dir;
    this.drive = drive;
    this.file = join(dir, 'state.json');
    mkdirSync(dir, { recursive: true });
    mkdirSync(drive, { recursive: true });
    const kept = existsSync(this.file) ? JSON.parse(readFileSync(this.file, 'utf8')) : { host: {}, vms: [] };
    this.host = { ...defaults, ...kept.host, ...options };
    this.vms = new Map(kept.vms.map((vm) => [vm.Id, vm]));
    this.save();
  }

  save() {
    const text = JSON.stringify({ host: this.host, vms: [...this.vms.values()] });
    // Most calls only ask.
    if (text === this.saved) return;
    this.saved = text;
    writeFileSync(`${this.file}.tmp`, text);
    renameSync(`${this.file}.tmp`, this.file);
  }

  /** Where a path of the host lies here. */
  local(path) {
    const parts = /^C:\\(.*)$/i.exec(path)?.[1].split('\\').filter(Boolean);
    if (!parts || parts.some((part) => part === '..' || part === '.' || part.includes('/')))
      throw new ErrorRecord({
        id: 'InvalidParameter',
        category: 'InvalidArgument',
        message: `The path '${path}' is not valid. (0x8007007B)`,
      });
    return join(this.drive, ...parts);
  }
}

/** Integration services, and whether they are enabled; their names are translated. */
const SERVICES = {
  en: {
    'Guest Service Interface': false,
    Heartbeat: true,
    'Key-Value Pair Exchange': true,
    Shutdown: true,
    'Time Synchronization': true,
    VSS: true,
  },
  de: {
    Gastdienstschnittstelle: false,
    Takt: true,
    'Austausch von Schlüsselwertepaaren': true,
    Herunterfahren: true,
    Zeitsynchronisierung: true,
    VSS: true,
  },
};

/** A virtual machine as `New-VM` makes it, without the network adapter that it has from the start. */
export const newMachine = ({ Name, Generation, MemoryStartupBytes, Path, root, language = 'en' }) => {
  const id = randomUUID();
  return {
    Id: id,
    Name,
    Generation,
    Version: '10.0',
    State: 'Off',
    Notes: '',
    CreationTime: new Date().toISOString(),
    startedAt: null,
    Path: `${Path ?? `${root}\\Virtual Machines`}\\${Name}`,
    processors: 1,
    memory: {
      startup: MemoryStartupBytes,
      dynamic: false,
      minimum: 512 * MIB,
      maximum: 1024 * GIB,
    },
    checkpointType: 'Production',
    startAction: 'StartIfRunning',
    stopAction: 'Save',
    firmware: Generation === 2 ? { secureBoot: 'On', template: 'MicrosoftWindows', order: [] } : null,
    bios: Generation === 1 ? { order: ['CD', 'IDE', 'LegacyNetworkAdapter', 'Floppy'] } : null,
    com: [null, null],
    // Generation 1 comes with a DVD drive; both come with a SCSI controller.
    drives:
      Generation === 1 ? [{ kind: 'DvdDrive', id: randomUUID(), type: 'IDE', number: 1, location: 0, path: null }] : [],
    adapters: [],
    snapshots: [],
    metering: false,
    integration: { ...SERVICES[language] },
    guest: { ignoresShutdown: false, vss: false },
  };
};

/** A virtual hard disk at a place of the first SCSI controller. */
export const newDrive = (path, location = 0) => ({
  ...{ kind: 'HardDiskDrive', id: randomUUID(), type: 'SCSI', number: 0 },
  ...{ location, path },
});

/** As `Add-VMNetworkAdapter` makes it. */
export const newAdapter = (name) => ({
  id: randomUUID(),
  name,
  mac: '000000000000',
  dynamicMac: true,
  switch: null,
  vlan: null,
  trunk: null,
  macSpoofing: 'Off',
  dhcpGuard: 'Off',
  routerGuard: 'Off',
  acls: [],
  /** Megabytes that came and went since its meters were made; null without any. */
  traffic: null,
});
