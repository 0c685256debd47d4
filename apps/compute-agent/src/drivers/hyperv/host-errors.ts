import { z } from 'zod';
import { HypervisorError, type HypervisorErrorCode } from '../hypervisor-driver.js';

/** An error record of PowerShell, as the host script gives it. */
export const ErrorRecord = z.object({
  fullyQualifiedErrorId: z.string(),
  category: z.string(),
  message: z.string(),
  exception: z.string(),
  /** Of the innermost exception. */
  hresult: z.string().optional(),
});
export type ErrorRecord = z.output<typeof ErrorRecord>;

/** Codes at the end of a text of Windows, `(0x80070070)`. */
const WINDOWS_CODES: Readonly<Record<string, HypervisorErrorCode>> = {
  '0x80070070': 'noResources', // disk full
  '0x80070027': 'noResources', // disk full
  '0x8007000e': 'noResources', // out of memory
  '0x800705aa': 'noResources', // out of system resources
  '0x800706ba': 'unavailable', // no RPC server
  '0x800706be': 'unavailable', // RPC failed
  '0x80072af9': 'unavailable', // no such host
};

/** First part of the FullyQualifiedErrorId. */
const IDS: Readonly<Record<string, HypervisorErrorCode>> = {
  OutOfMemory: 'noResources',
  DiskFull: 'noResources',
  WebException: 'unavailable',
  TransferFailed: 'unavailable',
  PipeUnavailable: 'unavailable',
  Timeout: 'unavailable',
  // An older module has neither the cmdlet nor the parameter.
  CommandNotFoundException: 'unsupported',
  NamedParameterNotFound: 'unsupported',
};

const COMMANDS = 'Microsoft.HyperV.PowerShell.Commands';
/** What `Get-VM` fails with where there is no such machine, in whatever language Windows speaks; and what a call of ours. */
const NOT_FOUND = [`InvalidParameter,${COMMANDS}.GetVM`, 'ObjectNotFound,Omnivisor.Host'];
/** What any cmdlet fails with where the service does not answer: whether a machine is there is not known then. */
const NO_SERVICE = `ObjectNotFound,${COMMANDS}.`;

export const idOf = (record: ErrorRecord): string => record.fullyQualifiedErrorId.split(',')[0]!;

/** Of the text, which is translated while its code is not, and of the exception. */
const windowsCodesOf = ({ message, hresult }: ErrorRecord): string[] =>
  [/\((0x[0-9a-f]{8})\)/i.exec(message)?.[1], hresult].flatMap((code) => code?.toLowerCase() ?? []);

const codeOf = (record: ErrorRecord): HypervisorErrorCode => {
  if (record.fullyQualifiedErrorId.startsWith(NO_SERVICE)) return 'unavailable';
  const known = windowsCodesOf(record).find((code) => code in WINDOWS_CODES);
  return known ? WINDOWS_CODES[known]! : (IDS[idOf(record)] ?? 'fault');
};

/** What a cmdlet failed with; the record stays in `record`, for those who have to tell one failure from another. */
export class CmdletError extends HypervisorError {
  constructor(
    cmdlet: string,
    readonly record: ErrorRecord,
  ) {
    const code = codeOf(record);
    super(
      code,
      `Hyper-V ${WORDS[code]}`,
      `${cmdlet}: ${record.fullyQualifiedErrorId}: ${record.message}`.slice(0, 2000),
    );
  }

  /** The host knows no such machine or device. */
  get notFound(): boolean {
    return NOT_FOUND.includes(this.record.fullyQualifiedErrorId);
  }

  /** The account that the host script runs in may not do that. */
  get denied(): boolean {
    return this.record.category === 'PermissionDenied';
  }

  get windowsCodes(): readonly string[] {
    return windowsCodesOf(this.record);
  }
}

const WORDS: Readonly<Record<HypervisorErrorCode, string>> = {
  serverNotOnHost: 'does not know the server',
  unsupported: 'of this host cannot do that',
  noResources: 'has no room for it',
  unavailable: 'did not answer',
  fault: 'refused or failed',
};
