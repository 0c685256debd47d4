import type { FlavorSnapshot, ServerId } from '@omnivisor/contracts';
import type { GuestNic, GuestSpec } from './guest.js';

/** `pause` stops the CPUs and keeps the memory where it is. Of a guest that is neither running nor paused: `fault`. */
export interface Pausing {
  pause(id: ServerId): Promise<void>;
  unpause(id: ServerId): Promise<void>;
}

/**
 * Memory to disk. A suspended guest needs no CPU and no memory, and is still suspended after a boot of the host.
 * Switching it off, a hard reboot and `destroy` give up its memory; `powerOn` refuses (`fault`).
 */
export interface Suspending {
  /** Of a guest that is running or paused; any other: `fault`. On failure it goes on as before. */
  suspend(id: ServerId): Promise<void>;
  /**
   * Goes on where it was. Of a guest that runs already: succeeds; of one that is off: `fault`. When the memory cannot be
   * read the guest stays suspended.
   */
  resume(id: ServerId, nics: readonly GuestNic[]): Promise<void>;
}

export interface Rebuilding {
  /**
   * Makes root, ephemeral and swap disk and config drive anew from `spec`, whatever the guest's power, and leaves it as
   * `powerOn` says. It keeps its identity, its network interfaces and the disks that were attached to it.
   *
   * Done once: a guest whose `mark.build` is that of `spec` is left alone, whatever its power. The mark changes when the
   * guest is whole. On failure, abort or crash before the new disks have taken the old ones' place the guest has its old
   * ones, and runs on or is off; after it, a repeat goes on.
   * @throws HypervisorError `fault` for another attempt, a build older than the guest's, a rescued or resized guest
   */
  rebuild(spec: GuestSpec, signal: AbortSignal): Promise<void>;
}

export interface Rescuing {
  /**
   * Boots the guest from `spec`, whose root is the rescue image, with its own root as second disk; leaves it running,
   * `rescued`. A guest that is rescued already: succeeds. On failure or abort it is as before, and runs on or is
   * off.
   */
  rescue(spec: GuestSpec, signal: AbortSignal): Promise<void>;
  /** Removes the rescue disk and boots the guest from its own. Of a guest that is not rescued: succeeds, power unchanged. */
  unrescue(id: ServerId, nics: readonly GuestNic[]): Promise<void>;
}

/**
 * Another flavor on the same host. All leave the guest's power to the caller, who switches it off before `resize` and
 * `revertResize` (else `fault`) and on after.
 */
export interface Resizing {
  /**
   * Refuses what `resize` would refuse of this flavor, and changes nothing: whatever the guest's power, so that none is
   * switched off for a flavor that it cannot get.
   * @throws HypervisorError as `resize` does
   */
  checkResize(id: ServerId, flavor: FlavorSnapshot): Promise<void>;
  /**
   * The guest is `resized` afterwards: definition and disks as they were before are kept. The same flavor again:
   * succeeds, also of a guest that is on by then; another one while the first is not settled: `fault`.
   * @throws HypervisorError `unsupported` for a smaller root or ephemeral disk: what is on a disk is never cut off.
   *   `noResources` when the host cannot carry it. Either way, and when aborted, the guest is as before
   */
  resize(id: ServerId, flavor: FlavorSnapshot, signal: AbortSignal): Promise<void>;
  /** Gives up what was before; running or off. Of a guest that is not resized: succeeds. */
  confirmResize(id: ServerId): Promise<void>;
  /** Back to definition and disks from before; what was written since is lost. Of a guest that is not resized: succeeds. */
  revertResize(id: ServerId): Promise<void>;
}

export interface CrashDumps {
  /** Sends the guest an NMI, upon which its kernel writes a dump if it is set up to. Of a guest that is off: `fault`. */
  trigger(id: ServerId): Promise<void>;
}
