import { hostBus } from '@omnivisor/contracts';
import type { FoundGuest } from '../drivers/hypervisor-driver.js';
import type { GuestWork } from './guest-work.js';
import type { AgentPorts } from './ports.js';
import { type DesiredServer, nextAction } from './reconcile.js';
import type { Session } from './session.js';

/** What is on the host although the log does not ask for it: guests are told of and left alone, ports are taken out. */
export class Strays {
  constructor(
    private readonly ports: Pick<AgentPorts, 'driver' | 'network'>,
    private readonly session: Session,
    private readonly work: GuestWork,
    private readonly agent: {
      desired(id: string): DesiredServer | undefined;
      /** Something is being done for the server right now. */
      isBusy(id: string): boolean;
    },
  ) {}

  /** @param found the host's guests, listed before the log was asked what it wants */
  async settle(found: readonly FoundGuest[]): Promise<void> {
    const guests = found.flatMap((guest) => {
      const { serverId, attempt } = guest.mark;
      const action = nextAction(this.agent.desired(serverId), guest);
      if (action?.kind !== 'quarantine' || this.agent.isBusy(serverId)) return [];
      return [{ serverId, attempt, reason: action.reason }];
    });
    const results = await Promise.allSettled([this.quarantine(guests), this.dropPorts(found)]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** Those that are still there. They stay as they are until an operator decides. */
  private async quarantine(
    guests: readonly { serverId: FoundGuest['mark']['serverId']; attempt: number; reason: string }[],
  ) {
    const now = guests.length === 0 ? [] : await this.ports.driver.list();
    const isThere = (id: string) => now.some(({ mark }) => mark.serverId === id);
    await this.session.ask(hostBus.quarantine, { guests: guests.filter(({ serverId }) => isThere(serverId)) });
  }

  /** Takes out ports whose server the log does not place here, and that has no guest here either. */
  private async dropPorts(found: readonly FoundGuest[]): Promise<void> {
    const guests = new Set<string>(found.map((g) => g.mark.serverId));
    const isStray = (id: string) => !this.agent.desired(id) && !guests.has(id) && !this.agent.isBusy(id);
    const leave = this.session.leave();
    for (const { portId, serverId } of await this.ports.network.list())
      if (isStray(serverId)) await this.work.unplug([portId], leave);
  }
}
