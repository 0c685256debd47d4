import { HypervisorError } from '../hypervisor-driver.js';
import type { QmpClient, QmpEvent } from './qmp-client.js';

/** Milliseconds until a job that was told to end counts as one that does not. */
const END_PATIENCE = 30_000;

interface Job {
  readonly id: string;
  readonly status: string;
  readonly 'current-progress': number;
  readonly 'total-progress': number;
  readonly error?: string;
}

/**
 * Resolves with the first event that fits. Listen before the call that causes it: an event that comes before its answer
 * would be missed.
 */
export const nextEvent = (qmp: QmpClient, fits: (event: QmpEvent) => boolean, timeout?: number): Promise<QmpEvent> =>
  new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      clearTimeout(timer);
      unlisten();
      unclose();
      settle();
    };
    const silent = () =>
      done(() => reject(new HypervisorError('unavailable', 'the guest does not do what it was asked for in time')));
    const timer = timeout === undefined ? undefined : setTimeout(silent, timeout);
    const unlisten = qmp.onEvent((event) => {
      if (fits(event)) done(() => resolve(event));
    });
    const unclose = qmp.onClose(() => done(() => reject(new HypervisorError('unavailable', 'the guest has ended'))));
  });

const isState = (id: string, states: readonly string[]) => (event: QmpEvent) =>
  event.event === 'JOB_STATUS_CHANGE' && event.data?.id === id && states.includes(String(event.data.status));

export interface JobCommand {
  /** A command with a `job-id`. */
  readonly command: string;
  readonly args: Readonly<Record<string, unknown>>;
}

/**
 * Runs a job of QEMU to its end. An abort cancels it.
 * @param begun called once the job has begun
 * @throws HypervisorError with QEMU's own words in `native`
 */
export const runJob = async (
  qmp: QmpClient,
  id: string,
  { command, args }: JobCommand,
  signal: AbortSignal,
  begun: () => Promise<void> = async () => {},
): Promise<void> => {
  await endJob(qmp, id);
  const concluded = jobConcluded(qmp, id);
  concluded.catch(() => undefined);
  const cancel = () => void qmp.call('job-cancel', { id }).catch(() => undefined);
  await qmp.call(command, { 'job-id': id, ...args });
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    await begun();
    await concluded;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
  const job = await findJob(qmp, id);
  await qmp.call('job-dismiss', { id });
  if (signal.aborted) throw new HypervisorError('fault', `the ${id} was aborted`);
  if (job?.error) throw new HypervisorError('fault', `the ${id} failed`, job.error);
};

/** Listens from the call on. */
export const jobConcluded = (qmp: QmpClient, id: string, timeout?: number): Promise<unknown> =>
  nextEvent(qmp, isState(id, ['concluded']), timeout);

/** Waits for a job that copies until source and target are the same. */
export const jobReady = (qmp: QmpClient, id: string): Promise<unknown> =>
  nextEvent(qmp, isState(id, ['ready', 'concluded']));

export const findJob = async (qmp: QmpClient, id: string): Promise<Job | undefined> =>
  (await qmp.call<Job[]>('query-jobs')).find((job) => job.id === id);

/**
 * Clears away a job that an agent that ended has left behind.
 * @throws HypervisorError `unavailable` when it does not end in time
 */
export const endJob = async (qmp: QmpClient, id: string, timeout = END_PATIENCE): Promise<void> => {
  const job = await findJob(qmp, id);
  if (!job) return;
  if (job.status !== 'concluded') {
    const concluded = jobConcluded(qmp, id, timeout);
    concluded.catch(() => undefined);
    await qmp.call('job-cancel', { id });
    if ((await findJob(qmp, id))?.status !== 'concluded') await concluded;
  }
  await qmp.call('job-dismiss', { id });
};
