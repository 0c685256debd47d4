import type { GroupMembers, NetworkPlan, NetworkPlug, PluggedPort, PortPlug } from '../agent/ports.js';

export type { GroupMembers, NetworkPlan, NetworkPlug, PluggedPort, PortPlug };

/** What the metadata service answered. */
export interface MetadataReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Asks for what a guest wants of 169.254.169.254; the source address is sure, anti-spoofing pins it to its port. */
export type OnMetadata = (networkId: string, sourceAddress: string, path: string) => Promise<MetadataReply>;

/** A plug with what operators and tests look at. */
export interface InspectableNetworkPlug extends NetworkPlug {
  /** Command prefix that runs a program where the guests of a network are reachable: `ip netns exec <ns>`. */
  reach(networkId: string): readonly string[];
}
