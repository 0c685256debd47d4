import type { hostBus, ImageSnapshot } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { GuestNic } from '../drivers/hypervisor-driver.js';

export type PortPlug = z.output<typeof hostBus.PortPlug>;
export type NetworkPlan = z.output<typeof hostBus.NetworkPlan>;

/** The host side of networks. Everything may be asked for again; what is there already stays as it is. */
export interface NetworkPlug {
  /** Makes the networks and brings their leases and rules up to date. */
  ensureNetworks(plans: readonly NetworkPlan[]): Promise<void>;
  /** Makes the device of a port, with its anti-spoofing and security rules; again to bring the rules up to date. */
  plug(port: PortPlug): Promise<GuestNic>;
  unplug(portId: string): Promise<void>;
  close(): Promise<void>;
}

/** Image bytes on this host. */
export interface ImageCache {
  /**
   * Path of the image's bytes; fetches them from `url` when they are not here yet, and checks their SHA-512.
   * @throws DomainError `unavailable` when they cannot be had now
   */
  path(image: ImageSnapshot, url: string, signal: AbortSignal): Promise<string>;
}
