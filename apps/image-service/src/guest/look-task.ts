/** The most that is read of a disk: enough for a large kernel and its RAM disk, some times over. */
export const LOOK_BYTES = 768 * 1024 * 1024;

/** What a process of its own does with a disk. Its answer is one `LookAnswer` as JSON on its standard output. */
export interface LookTask {
  /** What it finds; what starts the guest; the guest's kernel or initial RAM disk. */
  readonly what: 'facts' | 'plan' | 'aki' | 'ari';
  /** An open file with the bytes of the disk, or the socket of an NBD server. */
  readonly disk: { readonly fd: number; readonly size: number } | { readonly socket: string };
  /** Open files for what is copied from the disk: kernel and initial RAM disk, or the one of them. */
  readonly to: readonly number[];
}

export type LookAnswer = { readonly found: unknown } | { readonly unreadable: string };
