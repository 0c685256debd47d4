/** Glance's names. `vmdk` is monolithicSparse or streamOptimized, `vhd` fixed or dynamic; `iso` is read by a CD drive. */
export const DISK_FORMATS = ['raw', 'qcow2', 'vhd', 'vhdx', 'vmdk', 'vdi', 'iso'] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

/**
 * Bytes that a guest's disk is made from, inspected before anybody gets them: an image in a format that the driver
 * takes, or the disk of a server that moves here. A driver uses `path` or `url`, whichever suits its host.
 */
export interface ImageSource {
  /** Said by who inspected the bytes; a driver never guesses it. They refer to no other file. */
  readonly format: DiskFormat;
  /** True: the disk of one server, which moves here. What a driver brings to its host for this source goes with the call. */
  readonly isPrivate?: boolean;
  /**
   * The bytes as a file on the agent's machine, fetched once however often it is asked for. Never to be changed, and it
   * may be removed as soon as the call it was given to has ended.
   * @throws HypervisorError `unavailable` when they cannot be had now, `fault` when `signal` aborts
   */
  path(signal: AbortSignal): Promise<string>;
  /** For a host that fetches by itself: good for these bytes and this host only, and for a short time. */
  readonly url: string;
  /** Of the file, to check what `url` gave: SHA-256 in hexadecimal, size in bytes. */
  digest(): Promise<{ readonly sha256: string; readonly size: number }>;
}
