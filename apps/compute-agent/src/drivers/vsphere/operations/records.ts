import type { PowerState } from '@omnivisor/contracts';
import type { Found, Properties } from '../transport/properties.js';
import { type Answer, type AnswerObject, listOf, Ref } from '../transport/soap.js';
import { CUT_OFF_KEY, HOLDER_KEY, PROBE_KEY, STATE_KEY } from './guest-state.js';

/** A VM as the vCenter knows it. */
export interface VmRecord {
  readonly ref: Ref;
  readonly name: string;
  readonly instanceUuid: string;
  /** Of its configuration: changes with it. */
  readonly version: string;
  readonly power: PowerState;
  readonly host: Ref | null;
  readonly template: boolean;
  /** The vCenter reaches its host and its files. */
  readonly isConnected: boolean;
  /** An extension of the vCenter made it, and looks after it: vCLS, NSX, Site Recovery. */
  readonly isManaged: boolean;
  readonly vcpus: number;
  readonly memoryMib: number;
  /** Of its definition, `[datastore] folder/name.vmx`. */
  readonly file: string;
  /** Entries of its extra configuration that are ours. */
  readonly state: string | null;
  readonly holder: string | null;
  readonly probe: string | null;
  /** MAC addresses. */
  readonly cutOff: readonly string[];
}

const extra = (key: string) => `config.extraConfig["${key}"]`;

/** What is read of each VM. */
export const VM_PATHS: readonly string[] = [
  ...['name', 'runtime.powerState', 'runtime.connectionState', 'runtime.host', 'config.instanceUuid'],
  ...[
    'config.changeVersion',
    'config.template',
    'config.managedBy',
    'config.files.vmPathName',
    'summary.config.numCpu',
    'summary.config.memorySizeMB',
  ],
  ...[STATE_KEY, HOLDER_KEY, PROBE_KEY, CUT_OFF_KEY].map(extra),
];
/** What of it says that something happened to a guest. */
export const VM_CHANGES: readonly string[] = ['runtime.powerState', 'runtime.host', extra(STATE_KEY)];

const POWER: Readonly<Record<string, PowerState>> = {
  poweredOn: 'running',
  poweredOff: 'shutdown',
  suspended: 'suspended',
};

const entry = (properties: Properties, key: string): string | null => {
  const value = (properties[extra(key)] as AnswerObject | undefined)?.value;
  return value === undefined || value === '' ? null : String(value);
};

export const stateEntry = (properties: Properties): string | null => entry(properties, STATE_KEY);

const isConnected = (properties: Properties): boolean => properties['runtime.connectionState'] === 'connected';

export const vmRecord = ({ ref, properties }: Found): VmRecord => ({
  ref,
  name: String(properties.name ?? ''),
  instanceUuid: String(properties['config.instanceUuid'] ?? ''),
  version: String(properties['config.changeVersion'] ?? ''),
  // Of a VM whose host does not answer, the vCenter tells what it was.
  power: isConnected(properties) ? (POWER[String(properties['runtime.powerState'])] ?? 'noState') : 'noState',
  host: properties['runtime.host'] instanceof Ref ? properties['runtime.host'] : null,
  template: properties['config.template'] === true,
  isConnected: isConnected(properties),
  isManaged: properties['config.managedBy'] !== undefined,
  vcpus: Number(properties['summary.config.numCpu'] ?? 0),
  memoryMib: Number(properties['summary.config.memorySizeMB'] ?? 0),
  file: String(properties['config.files.vmPathName'] ?? ''),
  state: entry(properties, STATE_KEY),
  holder: entry(properties, HOLDER_KEY),
  probe: entry(properties, PROBE_KEY),
  cutOff: entry(properties, CUT_OFF_KEY)?.split(' ') ?? [],
});

/** A device of a VM, under the names of the API. */
export interface Device extends AnswerObject {
  readonly $type: string;
  readonly key: string;
}

const DISK = 'VirtualDisk';
export const isDisk = ({ $type }: Device): boolean => $type === DISK;
export const isCd = ({ $type }: Device): boolean => $type === 'VirtualCdrom';
/** Every network card has a MAC address, and nothing else has. */
export const isNic = (device: Device): boolean => typeof device.macAddress === 'string';

export const devicesOf = (answer: Answer | undefined): Device[] => listOf(answer) as readonly Answer[] as Device[];

export const unitOf = (device: Device): number => Number(device.unitNumber);

/** The file behind a device, `[datastore] folder/name`; null when it has none. */
export const fileOf = (device: Device): string | null => {
  const name = (device.backing as AnswerObject | undefined)?.fileName;
  return typeof name === 'string' && name !== '' ? name : null;
};

export const bytesOf = (disk: Device): number =>
  Number(disk.capacityInBytes ?? 0) || Number(disk.capacityInKB ?? 0) * 1024;

/** The folder that a file is in. */
export const folderOf = (path: string): string => path.replace(/\/[^/]*$/, '');
