import type { ServerId } from '@omnivisor/contracts';
import { HypervisorError } from '../hypervisor-driver.js';
import { AGENT_CHANNEL, argumentsFor } from './command-line.js';
import { type GuestDefinition, guestName } from './definition.js';
import { FILES } from './files.js';
import { GuestAgentClient } from './guest-agent-client.js';
import type { Execution } from './guest-cpu.js';
import { findProcess, kill, launch, waitForEnd } from './guest-process.js';
import type { GuestStore } from './guest-store.js';
import { commandOf } from './processes.js';
import { QmpClient, type QmpEvent } from './qmp-client.js';
import type { RunState } from './states.js';

/** Milliseconds: large pages are emptied before QEMU answers, of which a slow machine does a GiB in a second. */
const pageTime = ({ hugePages, memoryMib }: GuestDefinition): number => (hugePages === null ? 0 : memoryMib);

export interface QemuGuestSettings {
  readonly store: GuestStore;
  readonly qemu: string;
  /** Milliseconds until a silent QEMU counts as not answering. */
  readonly answerTimeout: number;
  readonly startTimeout: number;
  /** Milliseconds until a silent guest agent counts as not answering. */
  readonly agentPatience: number;
  /** True once the driver was closed: nothing connects to guests any more. */
  isClosed(): boolean;
  /** A guest changed by itself. */
  changed(id: ServerId): void;
}

const PRESS_AGAIN = 5_000;
/** Milliseconds until a process that hangs is asked again; it may refuse at once, when nobody takes its connections. */
const ASK_AGAIN = 100;
const REPORTED = new Set(['SHUTDOWN', 'RESET', 'STOP', 'RESUME', 'GUEST_PANICKED']);

/** One guest and its process: QEMU's verbs, and one connection that is made when it is needed and kept. */
export class QemuGuest {
  private connecting: Promise<QmpClient> | null = null;
  private quiet = 0;

  constructor(
    readonly id: ServerId,
    private readonly settings: QemuGuestSettings,
  ) {}

  private get dir(): string {
    return this.settings.store.path(this.id);
  }

  /** Events during `action` are its own doing and are not reported. */
  async quietly<T>(action: () => Promise<T>): Promise<T> {
    this.quiet++;
    try {
      return await action();
    } finally {
      this.quiet--;
    }
  }

  pid(guest: GuestDefinition): number | null {
    return findProcess(this.dir, guest);
  }

  hasProcess(guest: GuestDefinition): boolean {
    return findProcess(this.dir, guest) !== null;
  }

  /** How the process was started; empty when there is none. */
  command(guest: GuestDefinition): string[] {
    const pid = findProcess(this.dir, guest);
    return pid === null ? [] : commandOf(pid);
  }

  /** @throws HypervisorError `unavailable` when the process does not answer */
  async state(guest: GuestDefinition): Promise<RunState> {
    if (!this.hasProcess(guest)) return 'gone';
    try {
      const qmp = await this.connect(guest);
      return (await qmp.call<{ status: string }>('query-status')).status;
    } catch (error) {
      if (!this.hasProcess(guest)) return 'gone';
      throw error;
    }
  }

  /** Starts the process with the guest's CPUs halted. */
  async start(
    guest: GuestDefinition,
    execution: Execution,
    signal: AbortSignal,
    extra: readonly string[] = [],
    cpus: readonly number[] | null = null,
  ): Promise<void> {
    const { store, qemu, startTimeout } = this.settings;
    this.disconnect();
    // What an agent began to start that ended meanwhile.
    await kill(this.dir, guest, this.settings.answerTimeout);
    store.noteStarted(this.id);
    await launch({
      dir: this.dir,
      guest,
      qemu,
      args: argumentsFor(guest, execution, extra),
      cpus,
      timeout: startTimeout + pageTime(guest),
      signal,
      ready: () =>
        this.connect(guest).then(
          () => true,
          () => false,
        ),
    });
  }

  async call<T>(guest: GuestDefinition, command: string, args?: Readonly<Record<string, unknown>>): Promise<T> {
    return (await this.connect(guest)).call<T>(command, args);
  }

  /**
   * Asks by the guest agent, where there is one, and else presses the power button, again every few seconds as a guest that
   * is still booting misses it, and waits.
   * @returns false when the guest did not react in time, or the wait was aborted
   */
  async shutDown(guest: GuestDefinition, patience: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    const qmp = await this.connect(guest);
    let stop = () => {};
    let again: NodeJS.Timeout | undefined;
    const isDown = new Promise<boolean>((resolve) => {
      const giveUp = () => resolve(false);
      const timer = setTimeout(giveUp, patience);
      signal.addEventListener('abort', giveUp);
      const unlisten = qmp.onEvent(({ event }) => {
        if (event === 'SHUTDOWN') resolve(true);
      });
      qmp.onClose(() => resolve(true));
      stop = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', giveUp);
        unlisten();
      };
    });
    let agent: GuestAgentClient | null = null;
    try {
      agent = guest.hasAgent ? await this.askAgent(qmp, patience / 2) : null;
      if (signal.aborted) return false;
      if (!agent) await qmp.call('system_powerdown');
      again = setInterval(() => void qmp.call('system_powerdown').catch(() => undefined), PRESS_AGAIN);
      return await isDown;
    } finally {
      clearInterval(again);
      stop();
      agent?.close();
    }
  }

  /** Null when no agent answers. It says nothing when it shuts its guest down. */
  private async askAgent(qmp: QmpClient, patience: number): Promise<GuestAgentClient | null> {
    const channels = await qmp.call<{ label: string; 'frontend-open': boolean }[]>('query-chardev');
    // Nothing in the guest has opened its end.
    if (!channels.some((channel) => channel.label === AGENT_CHANNEL && channel['frontend-open'])) return null;
    const { store, agentPatience } = this.settings;
    try {
      const agent = await GuestAgentClient.connect(store.path(this.id, FILES.agent), Math.min(agentPatience, patience));
      agent.tell('guest-shutdown', { mode: 'powerdown' });
      return agent;
    } catch {
      return null;
    }
  }

  /** Asks a guest that runs to shut down, and one that cannot be asked, as its process hangs, until its time is up. */
  async askToShutDown(guest: GuestDefinition, patience: number, signal: AbortSignal): Promise<void> {
    const deadline = Date.now() + patience;
    for (let left = patience; left > 0 && !signal.aborted; left = deadline - Date.now()) {
      try {
        if ((await this.state(guest)) === 'running') await this.shutDown(guest, deadline - Date.now(), signal);
        return;
      } catch (error) {
        if (this.settings.isClosed() || (error as HypervisorError).code !== 'unavailable') throw error;
        await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
      }
    }
  }

  /** Ends the process, politely towards the disks when it answers, and by force when it does not. */
  async end(guest: GuestDefinition): Promise<void> {
    const pid = findProcess(this.dir, guest);
    if (pid !== null) {
      this.settings.store.noteStopped(this.id);
      await this.call(guest, 'quit').catch(() => undefined);
      await waitForEnd(pid, this.dir, guest, this.settings.answerTimeout);
    }
    await kill(this.dir, guest, this.settings.answerTimeout);
    this.disconnect();
  }

  disconnect(): void {
    const connecting = this.connecting;
    this.connecting = null;
    void connecting?.then(
      (qmp) => qmp.close(),
      () => undefined,
    );
  }

  /** @throws HypervisorError `unavailable` when the process does not answer */
  connect(guest: GuestDefinition): Promise<QmpClient> {
    if (this.settings.isClosed()) return Promise.reject(new HypervisorError('unavailable', 'the driver was closed'));
    this.connecting ??= this.open(guest).catch((error: unknown) => {
      this.connecting = null;
      throw error instanceof HypervisorError
        ? error
        : new HypervisorError('unavailable', 'the QEMU process does not answer', (error as Error).message, {
            cause: error,
          });
    });
    return this.connecting;
  }

  private async open(guest: GuestDefinition): Promise<QmpClient> {
    const qmp = await this.dial(guest);
    const { name } = await qmp.call<{ name?: string }>('query-name');
    if ((name ?? '') !== guestName(guest)) {
      qmp.close();
      throw new HypervisorError('fault', 'another process answers in the place of the guest', `name ${name}`);
    }
    qmp.onEvent((event) => this.heard(event));
    qmp.onClose(() => {
      this.connecting = null;
      this.report();
    });
    return qmp;
  }

  /** A process that was just started does not listen yet. */
  private async dial(guest: GuestDefinition): Promise<QmpClient> {
    const { store, answerTimeout } = this.settings;
    const deadline = Date.now() + answerTimeout;
    for (;;) {
      try {
        return await QmpClient.connect(store.path(this.id, FILES.qmp), answerTimeout);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== 'ECONNREFUSED' && code !== 'ENOENT') throw error;
        if (Date.now() > deadline || findProcess(this.dir, guest) === null) throw error;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  }

  private heard({ event }: QmpEvent): void {
    if (REPORTED.has(event)) this.report();
  }

  private report(): void {
    if (this.quiet === 0) this.settings.changed(this.id);
  }
}
