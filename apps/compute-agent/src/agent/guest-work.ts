import { DomainError, type ServerId } from '@omnivisor/contracts';
import { HypervisorError, memberOf } from '../drivers/hypervisor-driver.js';
import type { GuestPorts } from './guest-ports.js';
import { type Boot, bytesOf, guestSpec, isFinalAnswer } from './guest-spec.js';
import type { Leave } from './leave.js';
import type { AgentPorts } from './ports.js';
import { reasonOf } from './reason.js';
import type { DesiredServer } from './reconcile.js';
import type { Semaphore } from './semaphore.js';
import { NotAskedFor } from './session.js';

/** Makes guests and removes them. Each step needs its leave, and ends where the work is given up. */
export class GuestWork {
  constructor(
    private readonly ports: AgentPorts,
    private readonly guestPorts: GuestPorts,
    private readonly spawning: Semaphore,
  ) {}

  /**
   * Makes the guest of an attempt.
   * @param boot asks for what the spawn needs; null when the log does not ask for it any more
   * @returns null when it runs; otherwise why it cannot, and nothing of it is left but its ports
   * @throws what another try may mend: image bytes or a hypervisor that cannot be reached now
   */
  async spawn(desired: DesiredServer, boot: () => Promise<Boot>, leave: Leave): Promise<string | null> {
    let isTriedAgain = false;
    try {
      return await this.make(desired, boot, leave);
    } catch (error) {
      isTriedAgain = !leave.signal.aborted && !(error instanceof NotAskedFor);
      throw error;
    } finally {
      if (!isTriedAgain) await this.forgetArrived(desired);
    }
  }

  /** The disks that were brought are one server's, and in its guest by now or of no use. */
  private async forgetArrived({ arrival }: DesiredServer): Promise<void> {
    for (const disk of [arrival?.root, arrival?.ephemeral]) if (disk) await this.ports.images.forget(disk);
  }

  private make(desired: DesiredServer, boot: () => Promise<Boot>, leave: Leave): Promise<string | null> {
    const { signal } = leave;
    return this.spawning.use(async () => {
      let given: NonNullable<Boot>;
      try {
        const { arrival, image } = desired;
        given = await bytesOf(this.ports, arrival?.root ?? image, boot, leave, arrival !== undefined);
      } catch (error) {
        if (!isFinalAnswer(error)) throw error;
        this.ports.onError(`spawning server ${desired.serverId}`, error);
        return 'Its image cannot be had in a form that the hypervisor takes.';
      }
      try {
        const spec = guestSpec(this.ports, desired, desired.image, given);
        const nics = await this.guestPorts.plugAll(desired, leave);
        await leave.step();
        await this.ports.driver.spawn({ ...spec, nics }, signal);
        return null;
      } catch (error) {
        if (signal.aborted || error instanceof NotAskedFor) throw error;
        if (error instanceof DomainError && error.kind === 'unavailable') throw error;
        if (error instanceof HypervisorError && error.code === 'unavailable') throw error;
        this.ports.onError(`spawning server ${desired.serverId}`, error);
        return reasonOf(error);
      }
    }, signal);
  }

  /**
   * Takes over a guest that somebody else made, with its ports by their MAC addresses.
   * @returns null when it is ours; otherwise why it cannot be: it is as before then
   * @throws what another try may mend
   */
  async adopt(desired: DesiredServer, nativeId: string, leave: Leave): Promise<string | null> {
    const { cloudId, driver } = this.ports;
    const { serverId, attempt, build } = desired;
    try {
      const adoption = memberOf(driver, 'adoption');
      const nics = await this.guestPorts.plugAll(desired, leave);
      await leave.step();
      await adoption.adopt(nativeId, { cloudId, serverId, attempt, build }, nics);
      return null;
    } catch (error) {
      if (leave.signal.aborted || !(error instanceof HypervisorError) || error.code === 'unavailable') throw error;
      this.ports.onError(`adopting server ${serverId}`, error);
      return `The guest cannot be adopted: ${error.message}.`;
    }
  }

  async release(id: ServerId, leave: Leave): Promise<void> {
    await leave.step();
    await memberOf(this.ports.driver, 'adoption').release(id);
  }

  /** Makes the shell of a guest that is on its way here. @returns its ticket */
  async receive(desired: DesiredServer, offer: string, boot: () => Promise<Boot>, leave: Leave): Promise<string> {
    const migration = memberOf(this.ports.driver, 'liveMigration');
    const given = await boot();
    if (!given) throw new NotAskedFor();
    leave.given();
    const spec = guestSpec(this.ports, desired, desired.image, given);
    const nics = await this.guestPorts.plugAll(desired, leave);
    await leave.step();
    const disks = desired.mayShare ? 'auto' : (desired.arrivesBy ?? 'copied');
    return migration.receive({ ...spec, nics }, offer, { disks, attached: [] }, leave.signal);
  }

  async destroy(id: ServerId, attempt: number, leave: Leave): Promise<void> {
    await leave.step();
    await this.ports.driver.destroy(id, attempt);
  }
}
