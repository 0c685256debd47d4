import type { MiB, PowerState, ServerId } from '@omnivisor/contracts';
import type { GuestDisk } from './device-members.js';
import type { FoundGuest, GuestMark, GuestNic, GuestSpec } from './guest.js';

export interface MigrationProgress {
  /** Bytes of memory, and of disks where they are copied. */
  readonly memory: { readonly total: number; readonly remaining: number };
  readonly disk: { readonly total: number; readonly remaining: number };
}

export interface ReceiveOptions {
  /**
   * `shared`: both hosts have the guest's own disks in the same place; `copied`: their contents come with the memory; `auto`:
   * copied unless they are shared.
   */
  readonly disks: 'shared' | 'copied' | 'auto';
  /** Where the target finds the disks that are attached to the guest. */
  readonly attached: readonly GuestDisk[];
}

/** Between which hosts guests move. Each name is the same on all hosts that have the thing, and on no other. */
export interface MigrationReach {
  /** Storage that the disks of its guests are on; null when no other host has it. */
  readonly storage: string | null;
  /** Storage whose guests can come here without a copy of their disks. */
  readonly sees: readonly string[];
  /** All that guests can come from and go to; null: any host of the backend. */
  readonly realm: string | null;
  /** Hosts that see each other's guests and can have one of a server only; null when each can have its own. */
  readonly pool: string | null;
}

/**
 * A running guest moves to another host of the same backend:
 * `offer` on the source, `receive` on the target, `send` on the source, `accept` on the target, `destroy` on the source.
 * Offer and ticket are the backend's own JSON texts. A ticket holds secrets: it goes from agent to agent and is not kept.
 * At no moment can the guest run on both sides.
 */
export interface LiveMigration {
  /** Where sources on other machines find this host; absent when its backend knows, or takes guests of this machine only. */
  readonly address?: string;
  /** `forced`: a `send` can be made to end. `copied`: disks come along where they are not shared. */
  readonly kinds?: ReadonlySet<'forced' | 'copied'>;
  reach(): Promise<MigrationReach>;
  /** What the target has to know of the guest as it is now. Changes nothing. Of a guest that is not running: `fault`. */
  offer(id: ServerId): Promise<string>;
  /**
   * Target: makes a shell that waits, `incoming`. `spec` says what the guest may be and where its network devices are
   * here; the offer comes from a host that is not trusted, and is checked against it. Again: a fresh shell, older tickets
   * are void.
   */
  receive(spec: GuestSpec, offer: string, options: ReceiveOptions, signal: AbortSignal): Promise<string>;
  /**
   * Source: resolves when the guest runs on the target; here it is `moved`. Encrypted and authenticated between machines.
   * When it rejects, also by abort, the guest still runs here. After a crash of the agent: again with the same ticket goes
   * on or finds it done.
   * @param options.force aborts when the guest may stand still for the rest of the way: a guest that changes its memory faster
   * than it can be sent comes to its end then. It goes on there, and here when it stays
   * @param options.address where the control plane knows the target to be, whatever its ticket says
   */
  send(
    id: ServerId,
    ticket: string,
    options: {
      readonly onProgress?: (progress: MigrationProgress) => void;
      readonly signal: AbortSignal;
      readonly force?: AbortSignal;
      readonly address?: string;
    },
  ): Promise<void>;
  /**
   * Target, once `send` has succeeded: the shell is a guest like any other. It runs, unless it has stopped by itself since it
   * came: then it has its newest disks. Again: succeeds. Before its memory is there: `fault`.
   */
  accept(id: ServerId): Promise<void>;
  /**
   * Target: removes a shell that waits. Without one: succeeds. Once the guest's memory is here: `fault`; `accept` or
   * `destroy` then, as the source is `moved` or not.
   */
  cancel(id: ServerId): Promise<void>;
  /** Source, unless `send` has succeeded: makes a guest whose `send` was cut off run here again. `fault` when it is `moved`. */
  recover(id: ServerId): Promise<void>;
}

/** A guest that somebody else made. */
export interface ForeignGuest {
  /** Names it in `adopt`; opaque. */
  readonly nativeId: string;
  readonly name: string;
  readonly power: PowerState;
  readonly vcpus: number;
  readonly memory: MiB;
  /** Disks in their order; bytes. */
  readonly disks: readonly { readonly name: string; readonly size: number }[];
  readonly nics: readonly { readonly mac: string; readonly network: string | null }[];
}

/** Guests that are not ours become ours, and back, without being restarted. */
export interface Adoption {
  /** Guests of this host without any cloud's mark. */
  candidates(): Promise<ForeignGuest[]>;
  /**
   * Marks the guest. Its network interfaces stay; `nics` says which port each stands for, by MAC, and where the driver sees to
   * guards they hold from then on. When it rejects, the guest is as before.
   * Already adopted under this mark: succeeds. @throws HypervisorError `fault` when there is no such candidate
   */
  adopt(nativeId: string, mark: GuestMark, nics: readonly GuestNic[]): Promise<FoundGuest>;
  /**
   * Takes the mark off, and puts back what adoption changed of the guest's interfaces; else it stays as it is. Of a server that is
   * not there: succeeds.
   */
  release(id: ServerId): Promise<void>;
}
