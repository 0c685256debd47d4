export { FakeNetworkPlug } from './fake-network-plug.js';
export { type LinuxNetworkOptions, LinuxNetworkPlug } from './linux/linux-network-plug.js';
export type { InspectableNetworkPlug, MetadataReply, NetworkPlug, OnMetadata } from './network-plug.js';
