import type { Bytes, ServerId } from '@omnivisor/contracts';
import type { GuestNic } from './guest.js';
import type { DiskFormat } from './image-source.js';

/** A disk that lives longer than the guest. */
export interface GuestDisk {
  /** Names it in `detach`; a volume's id. */
  readonly diskId: string;
  readonly connection: /** A file or block device, named as the hypervisor's storage names places (path, `[datastore] path`, VDI). */
    | { readonly kind: 'file' | 'block'; readonly path: string }
    /** An export by the network block device protocol, over a unix socket on the hypervisor's host. */
    | { readonly kind: 'nbd'; readonly socket: string; readonly exportName: string };
  readonly format: DiskFormat;
  readonly readOnly: boolean;
  /** `hw_disk_bus` for this disk; null: the guest's own. */
  readonly bus: string | null;
  /** What the guest reads as the disk's serial number; up to 20 characters survive every bus. */
  readonly serial: string;
  /** Place among the bootable disks; null: never booted from. */
  readonly bootIndex: number | null;
}

/** To a running, paused or switched off guest; it stays attached across power cycles and rebuilds until it is detached. */
export interface Disks {
  /** The same disk again: succeeds. @throws HypervisorError `unsupported` for a bus or connection that cannot be served */
  attach(id: ServerId, disk: GuestDisk): Promise<void>;
  /**
   * Waits until the guest has let go of it. Of a disk that is not attached: succeeds.
   * @throws HypervisorError `unavailable` when the guest does not let go in time, `fault` when it cannot as it is, paused
   *   or under a checkpoint of others: the disk is still attached
   */
  detach(id: ServerId, diskId: string): Promise<void>;
}

export interface DiskGrowing {
  /**
   * The guest sees the attached disk with its new size, running or not. A `file` is made that long first; a block device
   * has grown already. Smaller than it is: `unsupported`; the same size: succeeds.
   */
  grow(id: ServerId, diskId: string, size: Bytes): Promise<void>;
}

/** To a running, paused or switched off guest. */
export interface Nics {
  /** The same port again: what may pass it is as `nic` says from now on. Refused with `unsupported`, it is as before. */
  attach(id: ServerId, nic: GuestNic): Promise<void>;
  /**
   * Lets nothing pass a port, either way, until it is attached again. It needs nothing of the guest, which keeps the interface.
   * Of an interface that is not there: succeeds.
   */
  cutOff(id: ServerId, portId: string): Promise<void>;
  /** As `Disks.detach`. */
  detach(id: ServerId, portId: string): Promise<void>;
}

/** Bytes of a disk at one point in time. */
export interface DiskExport {
  readonly format: DiskFormat;
  /** What a guest sees. */
  readonly virtualSize: Bytes;
  /** True when the guest agent has frozen the file systems meanwhile; false: as after a power cut. */
  readonly quiesced: boolean;
  /** The file in `format`, whole, referring to no other. What was made for it goes when it ends or is destroyed. */
  readonly stream: NodeJS.ReadableStream & { destroy(error?: Error): unknown };
}

export interface Snapshots {
  /** What `exportDisk` can write, best first. */
  readonly formats: readonly DiskFormat[];
  /**
   * Resolves once the point in time is taken and its bytes can be read; a running guest goes on, one that is off or
   * suspended stays so. A rescued guest gives its own root.
   * @throws HypervisorError `unsupported` for a format not in `formats`, or a disk the guest does not have
   */
  exportDisk(id: ServerId, disk: 'root' | 'ephemeral', format: DiskFormat, signal: AbortSignal): Promise<DiskExport>;
}
