import { setTimeout as sleep } from 'node:timers/promises';
import { HypervisorError } from '../../hypervisor-driver.js';
import { xapiCode } from '../transport/xapi-error.js';
import { LONG_TASK_LIMIT, TaskGoesOn, type XapiSession } from '../transport/xapi-session.js';
import { refuseAborted } from './aborted.js';
import type { Place } from './place.js';
import type { Ref, VmRecord } from './records.js';

type PowerState = VmRecord['power_state'];

/** The guest was asked and did not follow, or has nobody who could be asked: none of its tools run while it boots. */
const DID_NOT_FOLLOW = new Set([
  ...['VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT', 'VM_SHUTDOWN_TIMEOUT', 'TASK_CANCELLED', 'VM_BAD_POWER_STATE'],
  ...['VM_LACKS_FEATURE', 'VM_MISSING_PV_DRIVERS', 'VM_OLD_PV_DRIVERS'],
]);
/** Milliseconds before such a guest is asked again. */
const ASK_AGAIN = 1_000;
/** The member takes no guests. */
const IN_MAINTENANCE = new Set(['HOST_DISABLED', 'HOST_DISABLED_UNTIL_REBOOT', 'HOST_DISABLED_INDEFINITELY']);

/** Power of VMs: what holds already is no error. */
export class Power {
  constructor(
    private readonly xapi: XapiSession,
    private readonly place: Place,
  ) {}

  state(vm: Ref): Promise<PowerState> {
    return this.xapi.call('VM.get_power_state', vm);
  }

  async start(vm: Ref): Promise<void> {
    await this.reaching(vm, 'Running', () => this.here('start', vm));
  }

  /** On the member that is the place. While that is in maintenance the pool chooses, as it did for what ran there. */
  private async here(what: 'start' | 'resume', vm: Ref): Promise<void> {
    const { member } = this.place;
    const options = what === 'resume' ? { limit: LONG_TASK_LIMIT } : {};
    if (member)
      try {
        await this.xapi.run(`VM.${what}_on`, [vm, member.ref, false, false], options);
        return;
      } catch (error) {
        if (!IN_MAINTENANCE.has(xapiCode(error) ?? '')) throw error;
      }
    await this.xapi.run(`VM.${what}`, [vm, false, false], options);
  }

  /** @throws XapiFault when no member of this place can carry it */
  async assertFits(vm: Ref): Promise<void> {
    const { member } = this.place;
    if (member) await this.xapi.call('VM.assert_can_boot_here', vm, member.ref);
    else if ((await this.xapi.call<Ref[]>('VM.get_possible_hosts', vm)).length === 0)
      throw new HypervisorError('noResources', 'no member of the pool can carry the guest');
  }

  /**
   * Asks as often as the guest lets it pass, then cuts the power, also of one whose shutdown does not let itself be cancelled.
   * @param grace milliseconds; 0 cuts it at once
   * @param signal an abort leaves the guest as it is
   */
  async off(vm: Ref, grace: number, signal?: AbortSignal): Promise<void> {
    const deadline = Date.now() + grace;
    while (Date.now() < deadline && (await this.state(vm)) === 'Running') {
      refuseAborted(signal);
      try {
        await this.xapi.run('VM.clean_shutdown', [vm], { limit: deadline - Date.now(), signal });
      } catch (error) {
        const code = xapiCode(error) ?? '';
        if (error instanceof TaskGoesOn) break;
        if (!DID_NOT_FOLLOW.has(code)) throw error;
        const soon = Math.min(ASK_AGAIN, Math.max(0, deadline - Date.now()));
        await sleep(soon, undefined, { signal }).catch(() => undefined);
      }
    }
    if ((await this.state(vm)) === 'Halted') return;
    refuseAborted(signal);
    await this.cut(vm);
  }

  /** Also gives up the memory of a suspended guest. */
  async cut(vm: Ref): Promise<void> {
    if ((await this.state(vm)) === 'Halted') return;
    await this.reaching(vm, 'Halted', () => this.xapi.run('VM.hard_shutdown', [vm]));
  }

  async pause(vm: Ref): Promise<void> {
    if (await this.isRefused(vm, ['Running', 'Paused'], 'pause')) return;
    await this.reaching(vm, 'Paused', () => this.xapi.run('VM.pause', [vm]));
  }

  async unpause(vm: Ref): Promise<void> {
    if (await this.isRefused(vm, ['Paused', 'Running'], 'unpause')) return;
    await this.reaching(vm, 'Running', () => this.xapi.run('VM.unpause', [vm]));
  }

  async suspend(vm: Ref): Promise<void> {
    if (await this.isRefused(vm, ['Running', 'Suspended', 'Paused'], 'suspend')) return;
    const paused = (await this.state(vm)) === 'Paused';
    if (paused) await this.unpause(vm);
    try {
      await this.reaching(vm, 'Suspended', () => this.xapi.run('VM.suspend', [vm], { limit: LONG_TASK_LIMIT }));
    } catch (error) {
      if (paused) await this.pause(vm).catch(() => undefined);
      throw error;
    }
  }

  async resume(vm: Ref): Promise<void> {
    if (await this.isRefused(vm, ['Suspended', 'Running', 'Paused'], 'resume')) return;
    if ((await this.state(vm)) === 'Paused') return this.unpause(vm);
    await this.reaching(vm, 'Running', () => this.here('resume', vm));
  }

  /** @returns true when what is asked for holds already: the second of `allowed` */
  private async isRefused(vm: Ref, allowed: readonly PowerState[], what: string): Promise<boolean> {
    const power = await this.state(vm);
    if (!allowed.includes(power))
      throw new HypervisorError('fault', `cannot ${what} a guest that is ${power.toLowerCase()}`);
    return power === allowed[1];
  }

  /** Somebody else may have been quicker. */
  private async reaching(vm: Ref, wanted: PowerState, change: () => Promise<unknown>): Promise<void> {
    try {
      await change();
    } catch (error) {
      if (xapiCode(error) !== 'VM_BAD_POWER_STATE' || (await this.state(vm)) !== wanted) throw error;
    }
  }
}
