/** Reference of an object of the pool; good as long as the object is there. */
export type Ref = string;
export const NULL_REF: Ref = 'OpaqueRef:NULL';

export type XapiMap = Readonly<Record<string, string>>;

/** Fields of XAPI's records that the driver reads, under their own names. */
export interface VmRecord {
  readonly uuid: string;
  readonly name_label: string;
  readonly power_state: 'Halted' | 'Paused' | 'Running' | 'Suspended';
  readonly other_config: XapiMap;
  readonly is_a_template: boolean;
  readonly is_a_snapshot: boolean;
  readonly is_control_domain: boolean;
  readonly resident_on: Ref;
  readonly affinity: Ref;
  readonly memory_static_max: number;
  readonly VCPUs_max: number;
  readonly VCPUs_at_startup: number;
  readonly VBDs: readonly Ref[];
  readonly VIFs: readonly Ref[];
  readonly consoles: readonly Ref[];
  readonly metrics: Ref;
  readonly guest_metrics: Ref;
  readonly current_operations: XapiMap;
  readonly domain_type: string;
  readonly HVM_boot_params: XapiMap;
  readonly platform: XapiMap;
  readonly recommendations: string;
}

export interface VbdRecord {
  readonly uuid: string;
  readonly VM: Ref;
  readonly VDI: Ref;
  readonly userdevice: string;
  readonly type: 'CD' | 'Disk' | 'Floppy';
  readonly mode: 'RO' | 'RW';
  readonly bootable: boolean;
  readonly currently_attached: boolean;
  readonly other_config: XapiMap;
}

export interface VifRecord {
  readonly uuid: string;
  readonly device: string;
  readonly MAC: string;
  readonly MTU: number;
  readonly network: Ref;
  readonly locking_mode: string;
  readonly ipv4_allowed: readonly string[];
  readonly ipv6_allowed: readonly string[];
  readonly currently_attached: boolean;
  readonly other_config: XapiMap;
}

export interface VdiRecord {
  readonly uuid: string;
  readonly name_label: string;
  readonly SR: Ref;
  readonly virtual_size: number;
  readonly other_config: XapiMap;
  readonly is_a_snapshot: boolean;
  /** Several VMs may write it at once. */
  readonly sharable: boolean;
  readonly VBDs: readonly Ref[];
}

export interface HostRecord {
  readonly uuid: string;
  readonly name_label: string;
  readonly address: string;
  readonly enabled: boolean;
  readonly metrics: Ref;
  readonly memory_overhead: number;
  readonly capabilities: readonly string[];
  readonly cpu_info: XapiMap;
  readonly software_version: XapiMap;
  readonly control_domain: Ref;
  readonly host_CPUs: readonly Ref[];
}

export interface PoolRecord {
  /** Archives in base64; those of the operators go before those of the product. */
  readonly uefi_certificates: string;
  /** Since XAPI 24.0. */
  readonly custom_uefi_certificates?: string;
}

export interface SrRecord {
  readonly uuid: string;
  readonly name_label: string;
  readonly physical_size: number;
  readonly shared: boolean;
  readonly PBDs: readonly Ref[];
}

export interface PbdRecord {
  readonly host: Ref;
  readonly SR: Ref;
  readonly currently_attached: boolean;
}

export interface NetworkRecord {
  readonly uuid: string;
  readonly name_label: string;
  readonly other_config: XapiMap;
  readonly PIFs: readonly Ref[];
}

export interface PifRecord {
  readonly device: string;
  readonly VLAN: number;
  readonly network: Ref;
  readonly host: Ref;
  readonly physical: boolean;
  readonly management: boolean;
}

/** Whole numbers come as numbers by JSON-RPC and as text by XML-RPC. */
export const wholeNumber = (value: number | string): number => Number(value);
