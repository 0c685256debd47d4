import type { FlavorSnapshot, GiB, hostBus, ImageSnapshot, MiB, PowerState, ServerId } from '@omnivisor/contracts';
import type { ImageSource } from './image-source.js';

/** What every guest of ours carries, on every backend. A guest without it is not ours and is never touched. */
export interface GuestMark {
  readonly cloudId: string;
  readonly serverId: ServerId;
  readonly attempt: number;
  /** 0 at the spawn, afterwards the generation of the newest rebuild: so a rebuild happens once, as a spawn does. */
  readonly build: number;
}

/** Where a network interface ends on the host. */
export type NicAttachment =
  /** A tap device that the network side has made; `netns` null is the host's own namespace. */
  | { readonly kind: 'tap'; readonly tap: string; readonly netns: string | null }
  /** A port of the hypervisor's own switch; the driver's configuration maps the physical network to it. */
  | {
      readonly kind: 'provider';
      readonly networkType: 'flat' | 'vlan';
      readonly physicalNetwork: string;
      /** VLAN id; null for `flat`. */
      readonly segmentationId: number | null;
    };

/** A rule of a security group with the members of the group that it names as prefixes. */
export type GuardRule = Omit<hostBus.SecurityRule, 'remoteGroup'>;

/** What may pass a port: anti-spoofing and security groups. */
export interface PortGuard {
  /** The only senders the guest may be; `ip` is an address or a CIDR. */
  readonly addresses: readonly { readonly mac: string; readonly ip: string }[];
  /** What is let through, stateful; everything else is dropped. */
  readonly rules: readonly GuardRule[];
}

export interface GuestNic {
  readonly portId: string;
  readonly mac: string;
  readonly mtu: number;
  /** Overrides the image's `hw_vif_model`; null: what that says. */
  readonly model: string | null;
  readonly attachment: NicAttachment;
  /**
   * Null: port security is off. Behind a tap the network side enforces it; on a `provider` attachment the driver does, by
   * native means, or refuses the guest with `unsupported`. A port is never silently open.
   */
  readonly guard: PortGuard | null;
}

/** Disks that live and die with the guest. */
export interface LocalDisks {
  readonly root: {
    readonly source: ImageSource;
    /** 0: the virtual size of the source. A source that is larger is refused. */
    readonly size: GiB;
  };
  /** Null when there is none. Without a source it is formatted, labelled `ephemeral0`. */
  readonly ephemeral: { readonly size: GiB; readonly source: ImageSource | null } | null;
  /** 0: none. */
  readonly swap: MiB;
}

/** A kernel the hypervisor starts itself, as AMI images want it. */
export interface DirectBoot {
  readonly kernel: ImageSource;
  readonly ramdisk: ImageSource | null;
  /** Null: what finds the root disk and writes to the console that the backend keeps. */
  readonly commandLine: string | null;
}

export interface GuestSpec {
  readonly mark: GuestMark;
  readonly name: string;
  /** vCPUs, memory and extra specs; the sizes of disks are those of `disks`. */
  readonly flavor: FlavorSnapshot;
  /** Properties of what runs inside (`hw_…`, `os_…`); the bytes come from `disks`. */
  readonly image: ImageSnapshot;
  readonly disks: LocalDisks;
  /** Null: the guest's firmware starts its root disk. */
  readonly directBoot: DirectBoot | null;
  readonly nics: readonly GuestNic[];
  /** Files of the config drive (volume label `config-2`), path to contents; null when there is none. */
  readonly configDrive: ReadonlyMap<string, Uint8Array> | null;
  /** False: `spawn` and `rebuild` leave it off, as a server that was off when it moved or was rebuilt. */
  readonly powerOn: boolean;
}

/**
 * Where a guest stands beside its power:
 * - `building`: an agent that ended in the middle left it half made
 * - `incoming`: it waits for its memory, or has it and waits for `accept`
 * - `rescued`: it runs the rescue image
 * - `resized`: what it was before the resize is kept
 * - `moved`: it was sent to another host; what is left must not be started
 */
export type GuestStage = 'building' | 'incoming' | 'settled' | 'rescued' | 'resized' | 'moved';

/** A guest with our mark, as it stands on the host. */
export interface FoundGuest {
  readonly mark: GuestMark;
  readonly stage: GuestStage;
  /** `noState` while it cannot be told, and for `building` and `incoming`. */
  readonly power: PowerState;
  readonly memory: MiB;
  readonly vcpus: number;
}

/** Something happened to a guest that this driver object did not do. A hint: `list` has the truth. */
export interface DriverEvent {
  readonly serverId: ServerId;
}
