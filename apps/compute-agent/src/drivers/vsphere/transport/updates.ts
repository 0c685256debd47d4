import { setTimeout as sleep } from 'node:timers/promises';
import { NoConnection } from '../../common/trusted-socket.js';
import { HypervisorError } from '../../hypervisor-driver.js';
import { type Found, type Properties, type PropertyReader, through } from './properties.js';
import { type Answer, type AnswerObject, listOf, Ref } from './soap.js';
import { isFault, VimFault, vimFault } from './vim-fault.js';
import type { VimSession } from './vim-session.js';

/** Seconds that the vCenter holds a question for updates. */
const WAIT = 20;
/** Milliseconds before each look at a task that has just begun. */
const LOOKS = [0, 3, 10];
/** Milliseconds that a task may take which copies memory or disks. */
export const LONG_TASK_LIMIT = 6 * 3_600_000;
/** Milliseconds that a task whose answer was lost gets to end before its caller hears of that. */
const LOST_LIMIT = 60_000;
const TASK_PATHS = ['info.state', 'info.error', 'info.result', 'info.progress'];
/** Native name of a task, e.g. `VirtualDiskManager.copyVirtualDisk`. */
const NAME_PATH = 'info.descriptionId';

/** What became of an object that is watched: its properties that changed, or null when it is gone. */
export type Told = (ref: Ref, changed: Properties | null) => void;

interface Waiting {
  readonly ref: Ref;
  readonly onProgress: ((percent: number) => void) | undefined;
  resolve(result: Answer | undefined): void;
  reject(error: unknown): void;
}

interface Collector {
  readonly generation: number;
  readonly ref: Ref;
  readonly tasks: Ref;
  version: string;
}

/**
 * What the vCenter tells by itself: one property collector of our own follows the tasks that are waited for, and the
 * objects that are watched. It is made anew with the session, and when the vCenter has lost it.
 */
export class Updates {
  private collector: Collector | null = null;
  private readonly waiting = new Map<string, Waiting>();
  private watched: { readonly container: Ref; readonly paths: readonly string[]; readonly told: Told } | null = null;
  private running: Promise<void> | null = null;
  private readonly closing = new AbortController();

  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
  ) {}

  /**
   * Starts a task and waits for its end.
   * @param options.signal cancels it; whether that came in time, the task says
   * @param options.limit milliseconds after which it is cancelled; the session's `taskLimit` when not given
   * @param options.onProgress hears percents
   * @throws VimFault what the task failed with; HypervisorError `unavailable` when it has not ended a while after its limit
   */
  async run(
    self: Ref,
    method: string,
    args: Parameters<VimSession['call']>[2] = {},
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly limit?: number;
      readonly onProgress?: (percent: number) => void;
    } = {},
  ): Promise<Answer | undefined> {
    const task = (await this.session.call(self, method, args)) as Ref;
    const limit = options.limit ?? this.session.taskLimit;
    const late = AbortSignal.timeout(limit);
    const end = options.signal ? AbortSignal.any([options.signal, late]) : late;
    let refused: unknown;
    const cancel = () =>
      void this.session.call(task, 'CancelTask').catch((error: unknown) => {
        refused = error;
      });
    end.addEventListener('abort', cancel, { once: true });
    if (end.aborted) cancel();
    try {
      // Most tasks are short: a few looks are cheaper than to follow them.
      for (const pause of LOOKS) {
        if (pause > 0) await sleep(pause);
        const done = ended(await this.read.of(task, TASK_PATHS));
        if (done) return done();
      }
      return await this.follow(task, limit + this.session.cancelGrace, () => refused, options.onProgress);
    } finally {
      end.removeEventListener('abort', cancel);
    }
  }

  /**
   * For whoever clears up what a call may have made. If only its answer was lost, its task goes on: waits until none is under
   * way of those that are meant, but not for long.
   * @param error what the call failed with
   * @param isMeant by what a task is done to, null when that is no managed entity: managers are none; and by its native name
   */
  async outlast(error: unknown, isMeant: (entity: Ref | null, name: string) => boolean): Promise<void> {
    if (!(error instanceof NoConnection)) return;
    // When the connection is lost as well, what is there is looked at when it is back.
    const recent = await this.recent().catch(() => []);
    const meant = recent.filter(({ properties }) => {
      const entity = properties['info.entity'];
      return ended(properties) === null && isMeant(entity instanceof Ref ? entity : null, nameOf(properties));
    });
    await Promise.allSettled(meant.map(({ ref }) => this.follow(ref, LOST_LIMIT)));
  }

  private async recent(): Promise<Found[]> {
    const manager = await this.session.manager('taskManager');
    return this.read.listed(manager, 'recentTask', 'Task', ['info.entity', NAME_PATH, ...TASK_PATHS]);
  }

  /** Cancels a task that still runs and is the one that is meant, by its native name, and waits for its end. */
  async cancel(task: Ref, isMeant: (name: string) => boolean): Promise<void> {
    try {
      const info = await this.read.of(task, [NAME_PATH, ...TASK_PATHS]);
      if (ended(info) || !isMeant(nameOf(info))) return;
      let refused: unknown;
      await this.session.call(task, 'CancelTask').catch((error: unknown) => {
        if (!(error instanceof VimFault) || isFault(error, 'ManagedObjectNotFound')) throw error;
        refused = error;
      });
      await this.follow(task, this.session.taskLimit, () => refused);
    } catch (error) {
      // However it ended, it has; where the guest is then, its VM tells.
      if (!(error instanceof VimFault)) throw error;
    }
  }

  /** Whether a task still runs and is one of those that are meant, by its native name. */
  async isUnderWay(task: Ref, isMeant: (name: string) => boolean): Promise<boolean> {
    try {
      const info = await this.read.of(task, [NAME_PATH, ...TASK_PATHS]);
      return ended(info) === null && isMeant(nameOf(info));
    } catch (error) {
      // Tasks are forgotten some time after their end.
      if (isFault(error, 'ManagedObjectNotFound')) return false;
      throw error;
    }
  }

  /** Tells of every object of this type below `container`, now and when it changes. A hint: updates may be repeated. */
  watch(container: Ref, paths: readonly string[], told: Told): void {
    this.watched = { container, paths, told };
    this.collector = null;
    this.go();
  }

  async close(): Promise<void> {
    this.closing.abort();
    await this.running;
  }

  /**
   * @param patience milliseconds; what the task does after them is the vCenter's
   * @param refused why it could not be cancelled
   */
  private follow(
    ref: Ref,
    patience: number,
    refused: () => unknown = () => undefined,
    onProgress?: Waiting['onProgress'],
  ): Promise<Answer | undefined> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.waiting.delete(ref.value);
        reject(taskGoesOn(refused()));
      }, patience);
      const settle =
        <T>(how: (value: T) => void) =>
        (value: T) => {
          clearTimeout(late);
          how(value);
        };
      this.waiting.set(ref.value, { ref, onProgress, resolve: settle(resolve), reject: settle(reject) });
      // A collector that is being made takes it along.
      if (this.collector)
        this.enlist(this.collector, [ref]).catch(() => {
          this.collector = null;
        });
      this.go();
    });
  }

  private go(): void {
    this.running ??= this.loop().finally(() => {
      this.running = null;
    });
  }

  private async loop(): Promise<void> {
    const { signal } = this.closing;
    while (!signal.aborted && (this.waiting.size > 0 || this.watched))
      try {
        const collector = await this.current();
        const { version } = collector;
        const options = { maxWaitSeconds: version === '' ? 0 : WAIT };
        const set = await this.session.call(
          collector.ref,
          'WaitForUpdatesEx',
          { version, options },
          {
            wait: WAIT * 1_000,
            signal,
          },
        );
        if (set !== undefined) this.take(collector, set as AnswerObject);
      } catch (error) {
        this.collector = null;
        if (signal.aborted || !isFault(error, 'ManagedObjectNotFound', 'InvalidCollectorVersion', 'NotAuthenticated')) {
          // What becomes of the tasks cannot be told; whoever waits is to know.
          for (const each of this.waiting.values()) each.reject(error);
          this.waiting.clear();
        }
        await sleep(this.watched ? 1_000 : 50, undefined, { signal }).catch(() => undefined);
      }
  }

  private async current(): Promise<Collector> {
    const { collector, session } = this;
    if (collector && collector.generation === session.generation) return collector;
    const [reader, views] = [await session.manager('propertyCollector'), await session.manager('viewManager')];
    const ref = (await session.call(reader, 'CreatePropertyCollector')) as Ref;
    const tasks = (await session.call(views, 'CreateListView')) as Ref;
    await this.filter(ref, 'Task', TASK_PATHS, tasks);
    if (this.watched) {
      const { container, paths } = this.watched;
      await this.filter(ref, 'VirtualMachine', paths, await this.read.view(container, 'VirtualMachine'));
    }
    const made = { generation: session.generation, ref, tasks, version: '' };
    this.collector = made;
    await this.enlist(
      made,
      [...this.waiting.values()].map((each) => each.ref),
    );
    return made;
  }

  private async enlist({ tasks }: Collector, add: readonly Ref[]): Promise<void> {
    if (add.length === 0) return;
    for (const gone of listOf(await this.session.call(tasks, 'ModifyListView', { add }))) this.lose(gone as Ref);
  }

  private lose({ value }: Ref): void {
    const each = this.waiting.get(value);
    this.waiting.delete(value);
    each?.reject(new HypervisorError('fault', 'a task of the vCenter was forgotten before it ended'));
  }

  private filter(collector: Ref, type: string, pathSet: readonly string[], view: Ref) {
    return this.session.call(collector, 'CreateFilter', {
      spec: { propSet: { type, all: false, pathSet }, objectSet: through(view, 'view') },
      partialUpdates: false,
    });
  }

  private take(collector: Collector, set: AnswerObject): void {
    collector.version = String(set.version);
    for (const filter of listOf(set.filterSet))
      for (const update of listOf((filter as AnswerObject).objectSet)) {
        const { kind, obj, changeSet } = update as AnswerObject;
        const ref = obj as Ref;
        const changed = Object.fromEntries(
          listOf(changeSet).map((each) => [String((each as AnswerObject).name), (each as AnswerObject).val]),
        );
        if (ref.type === 'Task') this.settle(collector, ref, changed, kind === 'leave');
        else this.watched?.told(ref, kind === 'leave' ? null : changed);
      }
  }

  private settle(collector: Collector, ref: Ref, changed: Properties, gone: boolean): void {
    const each = this.waiting.get(ref.value);
    if (!each) return;
    if (gone) {
      this.lose(ref);
      return;
    }
    const progress = changed['info.progress'];
    if (progress !== undefined) each.onProgress?.(Number(progress));
    const done = ended(changed);
    if (!done) return;
    this.waiting.delete(ref.value);
    void this.session.call(collector.tasks, 'ModifyListView', { remove: ref }).catch(() => undefined);
    try {
      each.resolve(done());
    } catch (error) {
      each.reject(error);
    }
  }
}

/** @param cancelling why it could not be cancelled, where that was tried */
const taskGoesOn = (cancelling: unknown): HypervisorError => {
  const refused = cancelling instanceof Error ? `CancelTask: ${cancelling.message}` : undefined;
  return new HypervisorError('unavailable', 'a task of the vCenter does not end in time', refused, {
    cause: cancelling,
  });
};

const nameOf = (info: Properties): string => String(info[NAME_PATH] ?? '');

/** Null while it goes on, else what gives its result or throws its fault. */
const ended = (info: Properties): (() => Answer | undefined) | null => {
  const state = info['info.state'];
  if (state === 'success') return () => info['info.result'];
  if (state !== 'error') return null;
  const { fault, localizedMessage } = (info['info.error'] ?? {}) as AnswerObject;
  return () => {
    throw vimFault(fault, String(localizedMessage ?? ''));
  };
};
