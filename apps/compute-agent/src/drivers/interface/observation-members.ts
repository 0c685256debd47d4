import type { GuestStatistics, ServerId } from '@omnivisor/contracts';

export type { GuestStatistics, TrafficCounters } from '@omnivisor/contracts';

export interface ConsoleLog {
  /** The newest `maxBytes` of what the guest wrote to its first serial port, across restarts of guest and agent. */
  tail(id: ServerId, maxBytes: number): Promise<Buffer>;
}

export type ConsoleKind = 'vnc' | 'serial';

/** A byte stream to a guest's serial port or VNC server. */
export interface ConsoleStream {
  readonly readable: NodeJS.ReadableStream;
  readonly writable: NodeJS.WritableStream;
  close(): void;
}

export interface Consoles {
  readonly kinds: ReadonlySet<ConsoleKind>;
  /** @throws HypervisorError `unavailable` of a guest that is off, `unsupported` for a kind not in `kinds` */
  open(id: ServerId, kind: ConsoleKind): Promise<ConsoleStream>;
}

export type ConsoleTicketKind = 'rdp' | 'mks';

/** How a client reaches a console that the hypervisor itself serves. */
export interface ConsoleTicket {
  readonly kind: ConsoleTicketKind;
  readonly host: string;
  readonly port: number;
  /** Nova's `internal_access_path`: the VM's id for RDP, the ticket for MKS. A secret where it is a ticket. */
  readonly accessPath: string;
  /** SHA-1 of the server's certificate, hexadecimal with colons; null where the client does not check it so. */
  readonly thumbprint: string | null;
}

export interface ConsoleTickets {
  readonly kinds: ReadonlySet<ConsoleTicketKind>;
  /** @throws HypervisorError `unavailable` of a guest that is off, `unsupported` for a kind not in `kinds` */
  open(id: ServerId, kind: ConsoleTicketKind): Promise<ConsoleTicket>;
}

export interface Statistics {
  /** @throws HypervisorError `fault` of a guest that is off or suspended */
  read(id: ServerId): Promise<GuestStatistics>;
}

export interface GuestAgentInfo {
  readonly version: string;
  readonly hostname: string | null;
  /** As `/etc/os-release` or Windows name it, e.g. `Debian GNU/Linux 12 (bookworm)`. */
  readonly operatingSystem: string | null;
}

/** What a guest tells of itself through the hypervisor's own integration services; nothing has to be installed for it. */
export interface GuestIntegrationInfo {
  readonly hostname: string | null;
  readonly operatingSystem: string | null;
  readonly addresses: readonly string[];
  /** By the hypervisor's names; `answers` when the guest's side of it runs. */
  readonly services: readonly { readonly name: string; readonly answers: boolean }[];
}

export interface GuestIntegration {
  /** What is not told is null or empty. @throws HypervisorError `fault` of a guest that does not run */
  read(id: ServerId): Promise<GuestIntegrationInfo>;
}

/** An agent inside the guest. All calls: `unavailable` while none answers, `fault` of a guest that does not run. */
export interface GuestAgent {
  info(id: ServerId): Promise<GuestAgentInfo>;
  /** @throws HypervisorError `fault` when the guest refuses, e.g. an unknown user */
  setPassword(id: ServerId, user: string, password: string): Promise<void>;
}
