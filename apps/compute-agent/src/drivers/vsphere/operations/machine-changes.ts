import type { HardwareWishes } from '@omnivisor/contracts';
import { HypervisorError } from '../../hypervisor-driver.js';
import type { Properties } from '../transport/properties.js';
import { type Answer, type AnswerObject, isTrue } from '../transport/soap.js';
import { type Config, controllerModel, isCardType, type Machine, type MachineWish, machineFor } from './hardware.js';

/** What is read of a VM for its firmware alone. */
export const FIRMWARE_PATHS: readonly string[] = ['config.firmware', 'config.bootOptions'];
/** What is read of a VM for `configOf`. */
export const CONFIG_PATHS: readonly string[] = [
  ...FIRMWARE_PATHS,
  ...['config.guestId', 'config.hardware', 'config.cpuAllocation', 'config.memoryAllocation'],
];

/** What a VM has, as it would be told to have it. */
export const configOf = (properties: Properties): Config => {
  const { autoCoresPerSocket, numCoresPerSocket } = (properties['config.hardware'] ?? {}) as AnswerObject;
  const { efiSecureBootEnabled } = (properties['config.bootOptions'] ?? {}) as AnswerObject;
  const firmware = String(properties['config.firmware'] ?? 'bios');
  return {
    guestId: String(properties['config.guestId'] ?? ''),
    // 0: as the vCenter thinks best.
    numCoresPerSocket: isTrue(autoCoresPerSocket) ? 0 : Number(numCoresPerSocket ?? 1),
    cpuAllocation: allocationIn(properties['config.cpuAllocation']),
    memoryAllocation: allocationIn(properties['config.memoryAllocation']),
    firmware,
    bootOptions: firmware === 'efi' ? { efiSecureBootEnabled: isTrue(efiSecureBootEnabled) } : undefined,
  };
};

const allocationIn = (answer: Answer | undefined) => {
  const { reservation, limit, shares } = (answer ?? {}) as AnswerObject;
  const { shares: share, level } = (shares ?? {}) as AnswerObject;
  return {
    ...{ reservation: Number(reservation ?? 0), limit: Number(limit ?? -1) },
    shares: { shares: Number(share ?? 0), level: String(level ?? 'normal') },
  };
};

/** What an image would have said for a VM to be as it is. @param controller type of that of its disks */
export const wishesOfVm = ({ guestId, firmware, bootOptions }: Config, controller?: string): HardwareWishes => {
  const model = controllerModel(controller);
  return {
    properties: {
      ...(guestId ? { vmware_ostype: guestId } : {}),
      ...(firmware === 'efi' ? { hw_firmware_type: 'uefi' } : {}),
      ...(bootOptions?.efiSecureBootEnabled ? { os_secure_boot: 'required' } : {}),
      ...(model === undefined ? {} : { hw_scsi_model: model }),
    },
    extraSpecs: {},
  };
};

/** Properties that say one thing in two ways. */
const ALIKE = [
  ['hw_scsi_model', 'vmware_adaptertype'],
  ['vmware_ostype', 'os_type'],
];

/** Of these properties and others that go before them. */
export const overlaid = (
  own: Readonly<Record<string, string>>,
  said: Readonly<Record<string, string>>,
): Record<string, string> => {
  const unsaid = Object.entries(own).filter(
    ([name]) => !ALIKE.some((names) => names.includes(name) && names.some((each) => Object.hasOwn(said, each))),
  );
  return { ...Object.fromEntries(unsaid), ...said };
};

/**
 * What a VM is told for its machine to become another one. What is alike in both stays as the VM has it; so do its cores per
 * socket when neither asks for any, as long as they come out even.
 * @param from null: nobody knows, so it is told all
 */
export const changesOf = (from: Machine | null, { config }: Machine, has: Config): Config => {
  const { numCoresPerSocket: asked, ...others } = config;
  const changed = Object.entries(others).filter(
    ([field, value]) => JSON.stringify(value) !== JSON.stringify(from?.config[field as keyof Config]),
  );
  const keeps = from !== null && from.config.numCoresPerSocket === undefined;
  const isUneven = (config.numCPUs ?? 1) % (has.numCoresPerSocket ?? 1) > 0;
  const numCoresPerSocket = asked ?? (keeps && !isUneven ? has.numCoresPerSocket : 1);
  return {
    ...Object.fromEntries(changed),
    ...(numCoresPerSocket === has.numCoresPerSocket ? {} : { numCoresPerSocket }),
  };
};

/** The machine after a resize. @throws HypervisorError `unsupported` for what a resize does not change */
export const resizedMachine = (from: Machine, wish: MachineWish): Machine => {
  const machine = machineFor(wish);
  if (machine.config.firmware !== from.config.firmware)
    throw new HypervisorError('unsupported', 'a resize does not change the firmware of a guest');
  if (machine.policy !== from.policy)
    throw new HypervisorError('unsupported', 'a resize does not move a guest to another storage policy');
  return machine;
};

/**
 * What is alike in both machines stays as the VM has it.
 * @param controller type of that of its disks
 * @param from null: nobody knows
 * @throws HypervisorError `unsupported`
 */
export const refuseController = (controller: string | undefined, from: Machine | null, wanted: Machine): void => {
  const mayKeep = wanted.anyController === 'unknown' ? from === null : wanted.anyController;
  if (!mayKeep && ![controller, from?.controller].includes(wanted.controller))
    throw new HypervisorError('unsupported', 'the image asks for another controller of disks than the guest has');
};

/** An adopted guest may have cards that could not be put back. @throws HypervisorError `unsupported` */
export const refuseStrange = (cards: readonly { readonly type: string }[]): void => {
  if (!cards.every(({ type }) => isCardType(type)))
    throw new HypervisorError('unsupported', 'the image asks for network cards in place of others that cannot be made');
};

/** The fields of a VM that are changed, as it has them now. */
export const asBefore = (has: Config, changed: Config): Config =>
  Object.fromEntries(Object.entries(has).filter(([field]) => Object.hasOwn(changed, field)));
