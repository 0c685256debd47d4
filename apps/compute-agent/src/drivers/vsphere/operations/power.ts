import { setTimeout as sleep } from 'node:timers/promises';
import type { PowerState } from '@omnivisor/contracts';
import { HypervisorError } from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import type { Ref } from '../transport/soap.js';
import { LONG_TASK_LIMIT, type Updates } from '../transport/updates.js';
import { isFault, VimFault } from '../transport/vim-fault.js';
import type { VimSession } from '../transport/vim-session.js';
import type { Place } from './place.js';
import { VM_PATHS, vmRecord } from './records.js';

/** How long a guest has between two requests to shut down. */
const ASK_AGAIN = 5_000;

export const refuseAborted = (signal: AbortSignal | undefined): void => {
  if (signal?.aborted) throw new HypervisorError('fault', 'the call was aborted');
};

/** Power of VMs: what holds already is no error. */
export class Power {
  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly place: Place,
  ) {}

  async state(vm: Ref): Promise<PowerState> {
    return vmRecord({ ref: vm, properties: await this.read.of(vm, VM_PATHS) }).power;
  }

  async start(vm: Ref): Promise<void> {
    await this.reaching(vm, 'running', () => this.startHere(vm));
  }

  /** On the member that is the place. While that is in maintenance it starts where the vCenter has put it. */
  private async startHere(vm: Ref, options: { readonly limit?: number } = {}): Promise<void> {
    const { member } = this.place;
    try {
      await this.updates.run(vm, 'PowerOnVM_Task', { host: member?.ref }, options);
    } catch (error) {
      if (!member || !(error instanceof VimFault)) throw error;
      if ((await this.read.one(member.ref, 'runtime.inMaintenanceMode')) !== true) throw error;
      await this.updates.run(vm, 'PowerOnVM_Task', {}, options);
    }
  }

  /**
   * Asks the guest's tools, more than once as a guest that boots has none yet, then cuts the power.
   * @param grace milliseconds; 0 cuts it at once
   * @param signal an abort leaves the guest as it is
   */
  async off(vm: Ref, grace: number, signal?: AbortSignal): Promise<void> {
    const deadline = Date.now() + grace;
    for (let asked = 0; Date.now() < deadline && (await this.state(vm)) === 'running'; ) {
      refuseAborted(signal);
      if (Date.now() - asked > ASK_AGAIN) {
        asked = Date.now();
        await this.askToShutDown(vm);
      }
      const soon = Math.min(200, Math.max(0, deadline - Date.now()));
      await sleep(soon, undefined, { signal }).catch(() => undefined);
    }
    if ((await this.state(vm)) === 'shutdown') return;
    refuseAborted(signal);
    await this.cut(vm);
  }

  private async askToShutDown(vm: Ref): Promise<void> {
    try {
      await this.session.call(vm, 'ShutdownGuest');
    } catch (error) {
      if (!isFault(error, 'ToolsUnavailable', 'InvalidPowerState', 'TaskInProgress', 'InvalidState')) throw error;
    }
  }

  /** Also gives up the memory of a suspended guest. */
  async cut(vm: Ref): Promise<void> {
    if ((await this.state(vm)) === 'shutdown') return;
    await this.reaching(vm, 'shutdown', () => this.updates.run(vm, 'PowerOffVM_Task'));
  }

  async suspend(vm: Ref): Promise<void> {
    if (await this.holds(vm, ['running', 'suspended'], 'suspend')) return;
    await this.reaching(vm, 'suspended', () => this.updates.run(vm, 'SuspendVM_Task', {}, { limit: LONG_TASK_LIMIT }));
  }

  async resume(vm: Ref): Promise<void> {
    if (await this.holds(vm, ['suspended', 'running'], 'resume')) return;
    await this.reaching(vm, 'running', () => this.startHere(vm, { limit: LONG_TASK_LIMIT }));
  }

  async interrupt(vm: Ref): Promise<void> {
    if ((await this.state(vm)) !== 'running')
      throw new HypervisorError('fault', 'only a guest that runs can be interrupted');
    await this.session.call(vm, 'SendNMI');
  }

  /** @returns true when what is asked for holds already: the second of `allowed` */
  private async holds(vm: Ref, allowed: readonly PowerState[], what: string): Promise<boolean> {
    const power = await this.state(vm);
    if (!allowed.includes(power)) throw new HypervisorError('fault', `cannot ${what} a guest that is ${power}`);
    return power === allowed[1];
  }

  /** Somebody else may have been quicker. */
  private async reaching(vm: Ref, wanted: PowerState, change: () => Promise<unknown>): Promise<void> {
    try {
      await change();
    } catch (error) {
      if (!isFault(error, 'InvalidPowerState') || (await this.state(vm)) !== wanted) throw error;
    }
  }
}
