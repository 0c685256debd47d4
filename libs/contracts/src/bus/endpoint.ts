import { z } from 'zod';
import { invalid } from '../errors.js';

/**
 * A request/reply command on the bus. `subject` may hold `*` where a host id goes; `at(hostId)` fills it in.
 * What comes from a compute host is parsed with `request` before anyone looks at it.
 */
export interface Endpoint<Q extends z.ZodType = z.ZodType, R extends z.ZodType = z.ZodType> {
  readonly subject: string;
  readonly request: Q;
  readonly reply: R;
  /** Deadline of one call in milliseconds. */
  readonly timeout: number;
}

export const endpoint = <Q extends z.ZodType, R extends z.ZodType>(
  subject: string,
  request: Q,
  reply: R,
  timeout = 5_000,
): Endpoint<Q, R> => ({ subject, request, reply, timeout });

/** The endpoint's subject for one host. */
export const at = (e: { readonly subject: string }, hostId: string): string => e.subject.replace('*', hostId);
/** The host id in a concrete subject such as `host.<id>.report`. */
export const hostOf = (subject: string): string => subject.split('.')[1] ?? '';

/** Arguments of a command of an operator. @throws DomainError `invalid` */
export const argumentsOf = <S extends z.ZodType>(schema: S, args: unknown): z.output<S> => {
  const parsed = schema.safeParse(args);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw invalid(`${issue?.path.join('.') || 'arguments'}: ${issue?.message ?? 'not valid'}`);
};
