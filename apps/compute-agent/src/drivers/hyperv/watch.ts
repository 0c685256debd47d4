import type { EventChannel } from '../common/event-channel.js';
import { type Guests, isOn } from './guests.js';
import type { HyperVNode } from './node.js';
import { joinConsole } from './power.js';

/** Follows what the hosts tell; asks for all again when something may have been missed. */
export class Watch {
  private watching = false;

  constructor(
    private readonly nodes: readonly HyperVNode[],
    private readonly guests: Guests,
    private readonly channel: EventChannel,
  ) {}

  async start(): Promise<void> {
    if (this.watching) return;
    this.watching = true;
    const watched = this.nodes.map(async (node) => {
      node.relay.on('vm', (vmId) => void this.changed(node, vmId).catch(() => undefined));
      node.relay.on('again', () => void this.caughtUp().catch(() => undefined));
      await node.relay.watch();
    });
    // Who does not answer now comes back with `again`.
    await Promise.any(watched).catch(() => undefined);
    await this.caughtUp().catch(() => undefined);
  }

  private async changed(node: HyperVNode, vmId: string): Promise<void> {
    const id = await this.guests.serverOf(node, vmId);
    if (!id) return;
    this.channel.publish(id);
    const guest = await this.guests.find(id);
    if (guest && isOn(guest)) await joinConsole(guest);
  }

  private async caughtUp(): Promise<void> {
    for (const guest of (await this.guests.all()).guests) {
      this.channel.publish(guest.mark.serverId);
      if (isOn(guest)) await joinConsole(guest);
    }
  }
}
