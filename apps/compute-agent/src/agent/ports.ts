import type { HostFacts, hostBus, ImageSnapshot, Milliseconds } from '@omnivisor/contracts';
import type { Bus, Clock } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import type { GuestNic, HypervisorDriver, ProbeReport } from '../drivers/hypervisor-driver.js';

export type PortPlug = z.output<typeof hostBus.PortPlug>;
export type NetworkPlan = z.output<typeof hostBus.NetworkPlan>;
export type GroupMembers = z.output<typeof hostBus.GroupMembers>;

export interface PluggedPort {
  readonly portId: string;
  readonly serverId: string;
}

/** The host side of networks. Everything may be asked for again; what is there already stays as it is. */
export interface NetworkPlug {
  /** Makes the network, or brings it up to date. */
  ensure(plan: NetworkPlan): Promise<void>;
  /** Takes up who is in the security groups that rules name. Members are kept; a change that comes twice is one. */
  regroup(groups: readonly GroupMembers[]): Promise<void>;
  /** Makes the device of a server's port, with its anti-spoofing and security rules; again to bring the rules up to date. */
  plug(port: PortPlug, serverId: string): Promise<GuestNic>;
  unplug(portId: string): Promise<void>;
  /** The ports that this agent has plugged, also before it was started anew. */
  list(): Promise<PluggedPort[]>;
  close(): Promise<void>;
}

/** Image bytes on this host, on their way to it and from it. */
export interface ImageCache {
  /**
   * Path of the image's bytes; fetches them from `url` when they are not here yet, and checks their SHA-512.
   * @param isPrivate it is the disk of one server that moves here, and stays until it is forgotten
   * @throws DomainError `unavailable` when they cannot be had now
   */
  path(image: ImageSnapshot, url: string, signal: AbortSignal, isPrivate?: boolean): Promise<string>;
  /** The bytes of a disk that has moved here are no longer needed. Of one that is not here: succeeds. */
  forget(image: ImageSnapshot): Promise<void>;
  /**
   * Sends a disk to `url`. The stream ends or is destroyed.
   * @throws DomainError `unavailable` when it cannot be sent now, another kind when it is not wanted
   */
  send(url: string, bytes: NodeJS.ReadableStream, signal: AbortSignal): Promise<void>;
}

/** What the agent stands on. */
export interface AgentPorts {
  readonly hostId: string;
  /** Marks our guests; an agent of another cloud is refused. */
  readonly cloudId: string;
  readonly clock: Clock;
  readonly bus: Bus;
  readonly driver: HypervisorDriver;
  readonly network: NetworkPlug;
  readonly images: ImageCache;
  /** Facts of this host; called at the start of each session, and with what a later probe has found. */
  readonly facts: (probe?: ProbeReport) => Promise<HostFacts>;
  /** What `uptime` says of the machine that the guests run on; absent where that is another one. */
  readonly uptime?: () => Promise<string>;
  readonly onError: (where: string, error: unknown) => void;
  /** A number in [0, 1), for the jitter of retries. */
  readonly random: () => number;
  /** Guests that are made at the same time. */
  readonly spawns?: number;
  /** Times as long as usual that the hypervisor may take; 1 unless told. */
  readonly patience?: number;
  /** How often the host is asked for what it has, give or take a fifth; 5 minutes unless told. */
  readonly surveyEvery?: Milliseconds;
}
