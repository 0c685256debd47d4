import { HypervisorError } from '../hypervisor-driver.js';
import { refuseAborted } from './build.js';
import type { Guest } from './guests.js';
import { CmdletError } from './host-errors.js';
import { arrangeDisks } from './layout.js';
import { type Machine, powerOf } from './operations/machines.js';
import { pipeOf } from './paths.js';

const LOOK_AGAIN = 500;
/** A guest that boots hears no shutdown request, so it is asked again. */
const ASK_AGAIN = 5_000;

const current = async ({ on, vm }: Guest): Promise<Machine> => {
  const now = await on.machines.byId(vm.Id);
  if (!now) throw new HypervisorError('serverNotOnHost', 'the guest is gone');
  return now;
};

/** Starts a guest that is off; its serial port is joined to its log at once. */
export const start = async (guest: Guest): Promise<void> => {
  const { on, mark } = guest;
  const vm = await current(guest);
  if (powerOf(vm.State) === 'shutdown') {
    await arrangeDisks(guest, mark);
    await on.machines.setSerialPort(vm.Id, mark.serverId);
  }
  await on.machines.start(vm.Id);
  await joinConsole(guest);
};

/** A console that cannot be joined does not stop a guest. */
export const joinConsole = (guest: Guest): Promise<void> => join(guest).catch(() => undefined);

const join = ({ on, vm, mark }: Guest): Promise<void> =>
  on.node.relay.join(vm.Id, pipeOf(mark.serverId), on.paths.consoleLog(mark.serverId));

/** @throws HypervisorError why nothing would come of the guest's serial port */
export const refuseSilentConsole = async (guest: Guest): Promise<void> => {
  try {
    await join(guest);
  } catch (error) {
    if (error instanceof CmdletError && error.denied)
      throw new HypervisorError(
        'unsupported',
        "the account that manages the guest's host may not open serial ports",
        error.native,
      );
    throw error;
  }
};

/** Cuts the power; also gives up a memory that was saved. */
export const cutPower = async (guest: Guest): Promise<void> => {
  const { on } = guest;
  const vm = await current(guest);
  const power = powerOf(vm.State);
  if (power === 'shutdown') return;
  if (power === 'suspended') await on.machines.forgetMemory(vm.Id);
  else await on.machines.turnOff(vm.Id);
};

/** Asks the guest to shut down, where that is possible, and waits. @throws HypervisorError `fault` when the wait is given up */
export const shutDown = async (guest: Guest, patience: number, signal: AbortSignal): Promise<void> => {
  const { on, vm } = guest;
  const deadline = Date.now() + patience;
  for (let asked = 0; ; ) {
    refuseAborted(signal);
    if (Date.now() - asked >= ASK_AGAIN) {
      asked = Date.now();
      if (!(await on.machines.askToShutDown(vm.Id))) return;
    }
    if (powerOf((await current(guest)).State) === 'shutdown') return;
    const left = deadline - Date.now();
    if (left <= 0) return;
    await changedOrLater(guest, Math.min(LOOK_AGAIN, left), signal);
  }
};

/** Until the host tells of the machine or the wait is given up, but no longer. */
const changedOrLater = ({ on, vm }: Guest, limit: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      on.node.relay.off('vm', changed);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const changed = (vmId: string) => {
      if (vmId === vm.Id.toLowerCase()) done();
    };
    const timer = setTimeout(done, limit);
    on.node.relay.on('vm', changed);
    signal.addEventListener('abort', done, { once: true });
  });
