export type HypervisorErrorCode =
  /** The backend does not know the server. */
  | 'serverNotOnHost'
  /** This backend or host has no such feature; no retry will help. */
  | 'unsupported'
  /** The host cannot carry it now; another host may. */
  | 'noResources'
  /** The backend, or the guest inside, did not answer; the same call may succeed later. */
  | 'unavailable'
  | 'fault';

/** What every method of a driver rejects with, and nothing else. */
export class HypervisorError extends Error {
  /** `message` is for the owner of the server too, in the words that it has: what is missing, or what to look after. */
  readonly tellOwner: boolean;

  /**
   * @param message for operators and, cut short, for users: no paths, host names or native words
   * @param native the backend's own code and text, for the log; it never reaches an API caller
   */
  constructor(
    readonly code: HypervisorErrorCode,
    message: string,
    readonly native?: string,
    options?: { cause?: unknown; tellOwner?: boolean },
  ) {
    super(message, options);
    this.name = 'HypervisorError';
    this.tellOwner = options?.tellOwner ?? code === 'unsupported';
  }
}
