import { DomainError } from '@omnivisor/contracts';
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

const SECRET_KEYS = [
  'password',
  'adminPass',
  'token',
  'secret',
  'seed',
  'authorization',
  'cookie',
  'user_data',
  'userData',
  'privateKey',
  'private_key',
  'x-auth-token',
  'x-subject-token',
];
const paths = SECRET_KEYS.flatMap((key) =>
  ['', '*.', '*.*.', '*.*.*.'].map((at) => `${at}["${key}"]`.replace('.[', '[')),
);

interface SerializedError {
  readonly type: string;
  readonly message: string;
  readonly kind?: string;
  readonly native?: string;
  readonly stack?: string;
  readonly cause?: SerializedError;
}

const MAX_DEPTH = 8;

/** An error with all its causes, bounded. */
export const serializeError = (error: unknown, depth = 0): SerializedError => {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error) };
  const native = (error as { native?: unknown }).native;
  return {
    type: error.name,
    message: error.message,
    ...(error instanceof DomainError ? { kind: error.kind } : {}),
    ...(typeof native === 'string' ? { native } : {}),
    ...(error.stack ? { stack: error.stack } : {}),
    ...(error.cause !== undefined && depth < MAX_DEPTH ? { cause: serializeError(error.cause, depth + 1) } : {}),
  };
};

/**
 * JSON lines on standard output, named after the service. Errors go under `err` and come with their causes; secrets are
 * cut out by name.
 * @param level pino's level; `LOG_LEVEL` or `info` when not given
 */
export const logger = (service: string, level?: string, destination?: DestinationStream): Logger =>
  pino(
    {
      name: service,
      level: level ?? process.env.LOG_LEVEL ?? 'info',
      base: { service },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths, censor: '***' },
      serializers: { err: (error: unknown) => serializeError(error) },
    },
    ...(destination ? [destination] : []),
  );
