import { parentPort, workerData } from 'node:worker_threads';
import { PostgresEventStore } from '@omnivisor/eventsourcing/postgres';
import { PostgresSealStore, parseVerifier, verifyLog } from '@omnivisor/eventsourcing/seal';
import { RandomIds } from '@omnivisor/platform/ports';
import type { VerifyOrder } from './log-verifier.js';

const { url, keys, outside } = workerData as VerifyOrder;
const store = new PostgresEventStore({ url, ids: new RandomIds() });
const seals = new PostgresSealStore(url);
try {
  parentPort?.postMessage(await verifyLog({ store, seals, keys: keys.map(parseVerifier) }, outside));
} finally {
  await store.close();
  await seals.close();
}
