import { Worker } from 'node:worker_threads';
import { unavailable } from '@omnivisor/contracts';
import type { NoteVerifier, VerifyReport } from '@omnivisor/eventsourcing/seal';

/** Compares the whole log with its seals. @param outside checkpoints that had left the box, as notes */
export type LogVerifier = (keys: readonly NoteVerifier[], outside: readonly string[]) => Promise<VerifyReport>;

/** What the thread is told. */
export interface VerifyOrder {
  /** Login of the service's role. */
  readonly url: string;
  /** As texts. */
  readonly keys: readonly string[];
  readonly outside: readonly string[];
}

/**
 * In a thread of its own with connections of its own: a long log takes its time, and requests are answered meanwhile.
 * @throws DomainError `unavailable` when the log or its seals cannot be read
 */
export const threadVerifier =
  (url: string): LogVerifier =>
  (keys, outside) => {
    const workerData: VerifyOrder = { url, keys: keys.map((key) => key.text), outside };
    const thread = new Worker(new URL('./verify-thread.js', import.meta.url), { workerData });
    // A service that is told to stop does not wait for it.
    thread.unref();
    return new Promise((resolve, reject) => {
      const failed = (error?: unknown) => reject(unavailable('the log cannot be verified now', error));
      thread.once('message', resolve);
      thread.once('error', failed);
      thread.once('exit', () => failed());
    });
  };
