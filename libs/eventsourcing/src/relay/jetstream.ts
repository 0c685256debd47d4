import { JetStreamApiError, type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';

export const STREAM_NOT_FOUND = 10059;
export const NO_MESSAGE = 10037;
const WRONG_LAST_SEQUENCE = new Set([10071, 10164]);
export const NANOSECONDS = 1_000_000;
/** Milliseconds that JetStream may take for an answer. */
export const TIMEOUT = 5_000;

/** JetStream's code of an error; undefined for an error of another kind. */
export const codeOf = (error: unknown): number | undefined =>
  error instanceof JetStreamApiError ? error.code : undefined;

/** True when somebody else has published meanwhile. */
export const isBehind = (error: unknown): boolean => WRONG_LAST_SEQUENCE.has(codeOf(error) ?? 0);

/** The manager of JetStream, made when it is first needed, and again after it could not be. */
export const managerOf = (nats: NatsConnection): (() => Promise<JetStreamManager>) => {
  let manager: Promise<JetStreamManager> | undefined;
  return () => {
    manager ??= jetstreamManager(nats, { timeout: TIMEOUT }).catch((error) => {
      manager = undefined;
      throw error;
    });
    return manager;
  };
};
