import { asHypervisorError } from '../../common/native-command.js';
import { HypervisorError, type HypervisorErrorCode } from '../../hypervisor-driver.js';

/** A failure that XAPI answered: a code and its parameters, as calls and tasks give them. */
export class XapiFault extends Error {
  constructor(
    readonly code: string,
    readonly params: readonly string[],
  ) {
    super(`${code}(${params.join(', ')})`);
    this.name = 'XapiFault';
  }
}

interface CodedError {
  readonly code: string;
  readonly params: readonly string[];
}

/** Errors of XAPI have parameters; those of sockets have not. */
export const isXapiError = (error: unknown): error is Error & CodedError =>
  error instanceof Error && Array.isArray((error as Partial<CodedError>).params);

export const xapiCode = (error: unknown): string | null => (isXapiError(error) ? error.code : null);

const MEANINGS: Readonly<Record<Exclude<HypervisorErrorCode, 'fault' | 'serverNotOnHost'>, readonly string[]>> = {
  noResources: [
    ...['NO_HOSTS_AVAILABLE', 'HOST_NOT_ENOUGH_FREE_MEMORY', 'HOST_NOT_ENOUGH_PCPUS', 'HOST_DISABLED'],
    ...['HOST_DISABLED_UNTIL_REBOOT', 'HOST_DISABLED_INDEFINITELY', 'SR_FULL', 'SR_BACKEND_FAILURE_44', 'OUT_OF_SPACE'],
    ...['SR_SUSPEND_SPACE_INSUFFICIENT', 'SR_SOURCE_SPACE_INSUFFICIENT', 'PROVISION_FAILED_OUT_OF_SPACE'],
  ],
  unsupported: [
    ...['MESSAGE_METHOD_UNKNOWN', 'MESSAGE_REMOVED', 'NOT_IMPLEMENTED', 'SR_OPERATION_NOT_SUPPORTED'],
    ...['UNIMPLEMENTED_IN_SM_BACKEND', 'LICENCE_RESTRICTION', 'FEATURE_RESTRICTED', 'FEATURE_REQUIRES_HVM'],
    ...[
      'RBAC_PERMISSION_DENIED',
      'VM_HVM_REQUIRED',
      'VM_LACKS_FEATURE',
      'VM_MISSING_PV_DRIVERS',
      'VM_OLD_PV_DRIVERS',
      'UNKNOWN_BOOTLOADER',
    ],
    ...['DISK_VBD_MUST_BE_READWRITE_FOR_HVM', 'SR_BACKEND_FAILURE_79', 'VDI_TOO_LARGE'],
  ],
  unavailable: [
    ...['SESSION_INVALID', 'SESSION_AUTHENTICATION_FAILED', 'HOST_IS_SLAVE', 'HOST_STILL_BOOTING', 'HOST_OFFLINE'],
    ...['HOST_IN_EMERGENCY_MODE', 'HOST_NOT_LIVE', 'CANNOT_CONTACT_HOST', 'TOO_BUSY', 'TOO_MANY_PENDING_TASKS'],
    ...['OTHER_OPERATION_IN_PROGRESS', 'SR_NOT_ATTACHED', 'SR_HAS_NO_PBDS', 'DEVICE_DETACH_TIMEOUT'],
    ...['DEVICE_DETACH_REJECTED', 'DEVICE_ATTACH_TIMEOUT', 'VM_FAILED_SUSPEND_ACKNOWLEDGMENT', 'VM_SUSPEND_TIMEOUT'],
    ...['DESIGNATE_NEW_MASTER_IN_PROGRESS', 'EVENTS_LOST', 'VDI_IN_USE'],
  ],
};
const BY_CODE = new Map(
  Object.entries(MEANINGS).flatMap(([meaning, codes]) => codes.map((code) => [code, meaning as HypervisorErrorCode])),
);

/** What the codes above are; for the spec that holds them to XAPI's table. */
export const knownCodes = (): string[] => [...BY_CODE.keys()];

/** Sockets, time-outs and TLS: nobody answered, or not somebody to trust. */
const NO_ANSWER =
  /^(E(CONN|HOST|NET|PIPE|TIMEDOUT|AI_|NOTFOUND)|ENOTFOUND|UND_ERR|ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/;

export const isNoAnswer = (error: unknown): boolean => {
  if (!(error instanceof Error) || isXapiError(error)) return false;
  const { code = '' } = error as NodeJS.ErrnoException;
  return (
    NO_ANSWER.test(code) ||
    error.name === 'TimeoutError' ||
    /^no connection|is not one of those that are pinned/.test(error.message)
  );
};

/**
 * An error of the transport as the driver's callers know it; XAPI's code and parameters stay in `native`.
 * @param doing for the message: what was tried, e.g. `starting the guest`
 */
export const fromXapi = (error: unknown, doing: string): HypervisorError => {
  if (error instanceof HypervisorError) return error;
  const options = { cause: error };
  if (isXapiError(error)) {
    if (error.code === 'HANDLE_INVALID' && error.params[0] === 'VM')
      return new HypervisorError('serverNotOnHost', `${doing}: the guest is gone`, error.message, options);
    return new HypervisorError(BY_CODE.get(error.code) ?? 'fault', `${doing} was refused`, error.message, options);
  }
  if (isNoAnswer(error))
    return new HypervisorError('unavailable', `${doing}: the pool does not answer`, (error as Error).message, options);
  return asHypervisorError(error, doing);
};
