import { asHypervisorError } from '../../common/native-command.js';
import { NoConnection } from '../../common/trusted-socket.js';
import { HypervisorError, type HypervisorErrorCode } from '../../hypervisor-driver.js';
import { type Answer, type AnswerObject, Ref } from './soap.js';

/** A fault that the vCenter answered, by a call or as the end of a task. */
export class VimFault extends Error {
  /**
   * @param kind type of the fault, e.g. `InvalidPowerState`
   * @param detail its fields
   */
  constructor(
    readonly kind: string,
    message: string,
    readonly detail: AnswerObject = {},
  ) {
    super(`${kind}: ${message}`);
    this.name = 'VimFault';
  }
}

const faultKind = (error: unknown): string | null => (error instanceof VimFault ? error.kind : null);
export const isFault = (error: unknown, ...kinds: readonly string[]): boolean => kinds.includes(faultKind(error) ?? '');

/** Of a SOAP fault: its type is that of the only element of its detail, or the element's name before `Fault`. */
export const faultOf = (fault: AnswerObject): VimFault => {
  const detail = (fault.detail ?? {}) as AnswerObject;
  const [name, first] = Object.entries(detail).find(([key]) => key !== '$type') ?? ['UnknownFaultFault', {}];
  return vimFault(first as Answer, String(fault.faultstring ?? ''), name.replace(/(?<=.)Fault$/, ''));
};

/** @param otherwise its type where the answer does not say it */
export const vimFault = (detail: Answer | undefined, message: string, otherwise = 'UnknownFault'): VimFault => {
  const fields = typeof detail === 'object' && !Array.isArray(detail) ? (detail as AnswerObject) : {};
  return new VimFault(fields.$type ?? otherwise, message, fields);
};

const MEANINGS: Readonly<Record<Exclude<HypervisorErrorCode, 'fault' | 'serverNotOnHost'>, readonly string[]>> = {
  noResources: [
    ...['NoDiskSpace', 'NoCompatibleHost', 'NoActiveHostInCluster', 'DrsDisabledOnVm', 'FileTooLarge'],
    ...['NotEnoughCpus', 'NotEnoughLogicalCpus', 'NoCompatibleDatastore', 'GenericDrsFault'],
  ],
  unsupported: [
    ...['NotSupported', 'MethodNotFound', 'NotImplemented', 'NoPermission', 'RestrictedVersion', 'MethodDisabled'],
    ...['LicenseRestricted', 'InvalidDeviceBacking', 'DeviceNotSupported', 'DeviceHotPlugNotSupported'],
    ...['DeviceUnsupportedForVmPlatform', 'DeviceUnsupportedForVmVersion', 'MemoryHotPlugNotSupported'],
    ...['CpuHotPlugNotSupported', 'MigrationFeatureNotSupported', 'DisallowedMigrationDeviceAttached'],
    ...['ToolsUnavailable', 'CpuIncompatible', 'GuestOperationsUnavailable'],
  ],
  unavailable: [
    ...['NotAuthenticated', 'InvalidLogin', 'HostNotConnected', 'HostNotReachable', 'HostCommunication'],
    ...['TaskInProgress', 'ResourceInUse', 'ConcurrentAccess', 'InaccessibleDatastore', 'DatastoreNotWritableOnHost'],
    ...[
      'InvalidHostConnectionState',
      'InvalidHostState',
      'SnapshotLocked',
      'FileLocked',
      'Timedout',
      'RequestCanceled',
    ],
  ],
};
const BY_KIND = new Map(
  Object.entries(MEANINGS).flatMap(([meaning, kinds]) => kinds.map((kind) => [kind, meaning as HypervisorErrorCode])),
);

/** What the faults above are; for the spec that holds them to the simulator's types. */
export const knownFaults = (): string[] => [...BY_KIND.keys()];

const codeOf = ({ kind, detail }: VimFault): HypervisorErrorCode => {
  if (kind === 'ManagedObjectNotFound' && detail.obj instanceof Ref && detail.obj.type === 'VirtualMachine')
    return 'serverNotOnHost';
  // InsufficientHostMemoryCapacityFault and two dozen more.
  if (kind.startsWith('Insufficient')) return 'noResources';
  return BY_KIND.get(kind) ?? 'fault';
};

/**
 * An error of the transport as the driver's callers know it; the vCenter's own words stay in `native`.
 * @param doing for the message: what was tried, e.g. `starting the guest`
 */
export const fromVim = (error: unknown, doing: string): HypervisorError => {
  if (error instanceof HypervisorError) return error;
  const options = { cause: error };
  if (error instanceof VimFault) {
    const code = codeOf(error);
    const what = code === 'serverNotOnHost' ? ': the guest is gone' : ' was refused';
    return new HypervisorError(code, `${doing}${what}`, error.message, options);
  }
  if (error instanceof NoConnection)
    return new HypervisorError('unavailable', `${doing}: the vCenter does not answer`, error.message, options);
  return asHypervisorError(error, doing);
};
