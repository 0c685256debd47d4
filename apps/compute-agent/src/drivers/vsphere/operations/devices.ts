import type { PowerState } from '@omnivisor/contracts';
import { type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import { type AnswerObject, type ArgumentObject, isTrue } from '../transport/soap.js';
import type { GuestState, LocalDisk, StoredDisk } from './guest-state.js';
import type { Guest } from './guests.js';
import type { PlannedNic } from './networks.js';
import { bytesOf, type Device, fileOf, isCd, isDisk, isNic, unitOf } from './records.js';

/** Keys of devices that are being made; the vCenter gives them others. */
const NEW_CONTROLLER = -100;
const NEW_CD_CONTROLLER = -200;
const NEW_SERIAL = -300;
const NEW_CD = -400;
const NEW_NIC = -500;

/** Places on the controller: 7 is its own. */
const ROOT_UNITS: Readonly<Record<string, number>> = { root: 0, ephemeral: 1, swap: 2 };
const FIRST_VOLUME = 3;
const LAST_UNIT = 15;
const OWN_UNIT = 7;
const MOST_NICS = 10;

/** Where a local disk of that name goes. */
export const unitFor = (role: string): number => ROOT_UNITS[role] ?? 0;

type Change = ArgumentObject;
const add = (device: ArgumentObject, fileOperation?: 'create'): Change => ({
  operation: 'add',
  fileOperation,
  device,
});
/** Its file stays. */
const remove = (device: Device): Change => ({ operation: 'remove', device: referenceTo(device) });
const referenceTo = ({ $type, key, backing, ...device }: Device): ArgumentObject => ({
  $type,
  key,
  ...(isDisk({ $type, key } as Device)
    ? {
        backing: backingFor(String((backing as { fileName?: string } | undefined)?.fileName ?? '')),
        controllerKey: device.controllerKey as string,
        unitNumber: device.unitNumber as string,
        capacityInKB: device.capacityInKB as string,
      }
    : {}),
});

/** A file of the datastore as a disk. */
const backingFor = (fileName: string): ArgumentObject => ({
  $type: 'VirtualDiskFlatVer2BackingInfo',
  fileName,
  diskMode: 'persistent',
  thinProvisioned: true,
});

/** The controller that all disks are on. */
export const controllerOf = (devices: readonly Device[]): Device | undefined =>
  devices.find(({ $type }) => /SCSI|LsiLogic|BusLogic/.test($type));

const diskKey = (unit: number): number => -1000 - unit;

/** @param controllerKey of the controller it goes to; that of one that is made with it when not given */
export const addDisk = (
  { unit, path, kib }: Pick<StoredDisk, 'unit' | 'path' | 'kib'>,
  controllerKey: number | string = NEW_CONTROLLER,
): Change =>
  add({
    $type: 'VirtualDisk',
    key: diskKey(unit),
    backing: backingFor(path),
    controllerKey,
    unitNumber: unit,
    capacityInKB: kib,
  });

/** A new and empty disk, which a lease fills. */
export const makeDisk = (kib: number): Change =>
  add(
    {
      $type: 'VirtualDisk',
      key: diskKey(0),
      backing: backingFor(''),
      controllerKey: NEW_CONTROLLER,
      unitNumber: 0,
      capacityInKB: kib,
    },
    'create',
  );

/** The disk with another size, KiB. */
export const growDisk = (device: Device, kib: number): Change => ({
  operation: 'edit',
  device: { ...referenceTo(device), capacityInKB: kib, capacityInBytes: kib * 1024 },
});

export const addController = ($type: string): Change =>
  add({ $type, key: NEW_CONTROLLER, busNumber: 0, sharedBus: 'noSharing' });

const serialPort = (key: number | string, fileName: string): ArgumentObject => ({
  $type: 'VirtualSerialPort',
  key,
  backing: { $type: 'VirtualSerialPortFileBackingInfo', fileName },
  connectable: { startConnected: true, allowGuestControl: false, connected: false },
  yieldOnPoll: true,
});

/** Writes what the guest says on its first serial port to a file. */
export const addSerialPort = (fileName: string): Change => add(serialPort(NEW_SERIAL, fileName));

/** What makes the port let go of that file until the VM starts again; nothing when it has. */
export const closeSerialPort = (devices: readonly Device[], fileName: string): Change[] =>
  devices.flatMap((device) => {
    const { $type, key, connectable } = device;
    const isOpen = $type === 'VirtualSerialPort' && fileOf(device) === fileName;
    if (!isOpen || !isTrue((connectable as AnswerObject | undefined)?.connected)) return [];
    return [{ operation: 'edit', device: serialPort(key, fileName) }];
  });

/** The config drive. Controllers for CDs are there in any VM, unless somebody has removed them. */
const addCd = (devices: readonly Device[], fileName: string): Change[] => {
  const controller = devices.find(({ $type }) => $type === 'VirtualIDEController');
  const cd = add({
    $type: 'VirtualCdrom',
    key: NEW_CD,
    backing: { $type: 'VirtualCdromIsoBackingInfo', fileName },
    connectable: { startConnected: true, allowGuestControl: true, connected: false },
    controllerKey: controller?.key ?? NEW_CD_CONTROLLER,
    unitNumber: 0,
  });
  return controller ? [cd] : [add({ $type: 'VirtualIDEController', key: NEW_CD_CONTROLLER, busNumber: 0 }), cd];
};

/** @param isOn no card of a VM that is off is connected now */
const connection = (passes: boolean, isOn = true): ArgumentObject => ({
  startConnected: passes,
  // A guest could connect its card by itself.
  allowGuestControl: passes,
  connected: passes && isOn,
});

/** The card as it is, but for whether anything passes it, now and once the VM starts. */
export const connectNic = (card: Device, passes: boolean, isOn: boolean): Change => {
  const { $type, key, backing, controllerKey, unitNumber, addressType, macAddress, wakeOnLanEnabled } = card;
  return {
    operation: 'edit',
    device: {
      ...{ $type, key, backing, controllerKey, unitNumber, addressType, macAddress, wakeOnLanEnabled },
      connectable: connection(passes, isOn),
    },
  };
};

export const isCutOff = ({ connectable }: Device): boolean => {
  const { startConnected, allowGuestControl, connected } = (connectable ?? {}) as AnswerObject;
  return ![startConnected, allowGuestControl, connected].some(isTrue);
};

/** What lets these cards pass again, of a VM that is in such a state of power. */
export const connectNics = (devices: readonly Device[], macs: readonly string[], power: PowerState): Change[] =>
  macs.flatMap((mac) => {
    const card = nicAt(devices, mac);
    return card ? [connectNic(card, true, power === 'running')] : [];
  });

export const addNic = ({ nic, type, backing }: PlannedNic, n = 0): Change =>
  add({
    $type: type,
    key: NEW_NIC - n,
    backing,
    connectable: connection(true),
    addressType: 'manual',
    macAddress: nic.mac,
    wakeOnLanEnabled: false,
  });

export const nicAt = (devices: readonly Device[], mac: string): Device | undefined =>
  devices.find((device) => isNic(device) && String(device.macAddress).toLowerCase() === mac.toLowerCase());

export const diskAt = (devices: readonly Device[], unit: number): Device | undefined =>
  devices.find((device) => isDisk(device) && unitOf(device) === unit);

/** The file of a disk as it is now. @throws HypervisorError when somebody has taken the disk away */
export const fileAt = (devices: readonly Device[], { role, unit }: LocalDisk): string => {
  const device = diskAt(devices, unit);
  const file = device ? fileOf(device) : null;
  if (file === null) throw new HypervisorError('fault', `the guest has lost its ${role} disk`);
  return file;
};

export const sizeAt = (devices: readonly Device[], { unit }: LocalDisk): number => {
  const device = diskAt(devices, unit);
  return device ? bytesOf(device) : 0;
};

/** The disks of the state, with the files that they have now. */
export const storedDisks = (devices: readonly Device[], disks: readonly LocalDisk[]): StoredDisk[] =>
  disks.map((disk) => ({
    ...{ role: disk.role, unit: disk.unit },
    path: fileAt(devices, disk),
    kib: Math.ceil(sizeAt(devices, disk) / 1024),
  }));

/** What makes a VM that is off have these local disks and this config drive, and not those of the state. */
export const exchangeLocal = (
  devices: readonly Device[],
  { disks, config }: Pick<GuestState, 'disks' | 'config'>,
  wanted: { readonly disks: readonly StoredDisk[]; readonly config: string | null },
): Change[] => {
  const controller = controllerOf(devices);
  if (!controller) throw new HypervisorError('fault', 'the guest has lost the controller of its disks');
  const isWanted = (device: Device) =>
    wanted.disks.some(({ unit, path }) => unit === unitOf(device) && path === fileOf(device));
  const old = disks.flatMap(({ unit }) => diskAt(devices, unit) ?? []);
  const cds = devices.filter((device) => isCd(device) && config !== null && fileOf(device) === config);
  const keepsCd = config !== null && config === wanted.config && cds.length > 0;
  return [
    ...[...old.filter((device) => !isWanted(device)), ...(keepsCd ? [] : cds)].map((device) => remove(device)),
    ...wanted.disks
      .filter((disk) => !old.some((device) => isAt(device, disk)))
      .map((disk) => addDisk(disk, controller.key)),
    ...(keepsCd || wanted.config === null ? [] : addCd(devices, wanted.config)),
  ];
};
const isAt = (device: Device, { unit, path }: StoredDisk): boolean =>
  unitOf(device) === unit && fileOf(device) === path;

export const removeDisk = (devices: readonly Device[], unit: number): Change[] => {
  const device = diskAt(devices, unit);
  return device ? [remove(device)] : [];
};

/** A place for one more disk. @throws HypervisorError `unsupported` when all are taken */
export const freeUnit = (devices: readonly Device[], { volumes }: GuestState): number => {
  for (let unit = FIRST_VOLUME; unit <= LAST_UNIT; unit++)
    if (unit !== OWN_UNIT && !diskAt(devices, unit) && !volumes.some((volume) => volume.unit === unit)) return unit;
  throw new HypervisorError('unsupported', 'a guest of this host has no place for one more disk');
};

/** What makes a VM that is off have exactly these ports; cards that stand for none are left alone. */
export const arrangeNics = (
  devices: readonly Device[],
  { vm, state: { nics } }: Guest,
  planned: readonly PlannedNic[],
): Change[] => {
  const gone = nics.filter(({ mac }) => !planned.some(({ nic }) => sameMac(nic.mac, mac)));
  return [
    ...gone.flatMap(({ mac }) => removeNic(devices, mac)),
    ...planned.flatMap((plan, n) => {
      const there = nicAt(devices, plan.nic.mac);
      if (!there) return [addNic(plan, n)];
      if (!plan.isBackedBy(there)) return [remove(there), addNic(plan, n)];
      return vm.cutOff.some((mac) => sameMac(mac, plan.nic.mac)) ? [connectNic(there, true, false)] : [];
    }),
  ];
};

/** What gives the cards of these ports the planned types; the others, and those that are not there, are left alone. */
export const retypeNics = (devices: readonly Device[], planned: readonly PlannedNic[]): Change[] =>
  planned.flatMap((plan, n) => {
    const there = nicAt(devices, plan.nic.mac);
    return there && there.$type !== plan.type ? [remove(there), addNic(plan, n)] : [];
  });

/** Those of the state that are there. */
export const cardTypes = (devices: readonly Device[], { nics }: GuestState): { mac: string; type: string }[] =>
  nics.flatMap(({ mac }) => {
    const device = nicAt(devices, mac);
    return device ? [{ mac, type: device.$type }] : [];
  });

export const removeNic = (devices: readonly Device[], mac: string): Change[] => {
  const device = nicAt(devices, mac);
  return device ? [remove(device)] : [];
};

export const sameMac = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

export const portsOf = (planned: readonly { readonly nic: GuestNic }[]): GuestState['nics'] =>
  planned.map(({ nic }) => ({ portId: nic.portId, mac: nic.mac }));

/** @throws HypervisorError `unsupported` */
export const refuseTooMany = (nics: readonly GuestNic[]): void => {
  if (nics.length > MOST_NICS)
    throw new HypervisorError('unsupported', `a guest of this host has at most ${MOST_NICS} network interfaces`);
};
