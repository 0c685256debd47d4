import type { Endpoint } from '@omnivisor/contracts';
import type { z } from 'zod';

export interface Subscription {
  close(): Promise<void>;
}

export interface BusOptions {
  /** Subscribers of one queue share the messages; without it each gets all of them. */
  readonly queue?: string;
}

/**
 * Transport between services: wake-ups and request/reply. It carries no truth: a lost message costs time, never a fact.
 */
export interface Bus {
  /**
   * Asks and waits for the endpoint's deadline.
   * @param subject the concrete subject when the endpoint's has a `*`
   * @throws DomainError as the responder threw it; `unavailable` when nobody answered in time
   */
  request<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    request: z.input<Q>,
    subject?: string,
  ): Promise<z.output<R>>;
  /** Answers requests. What does not fit the endpoint's schema is answered with `invalid`. */
  respond<Q extends z.ZodType, R extends z.ZodType>(
    endpoint: Endpoint<Q, R>,
    handler: (request: z.output<Q>, subject: string) => Promise<z.input<R>>,
    options?: BusOptions,
  ): Promise<Subscription>;
  /** Fire and forget; JSON. */
  publish(subject: string, message: unknown): void;
  subscribe(
    subject: string,
    handler: (message: unknown, subject: string) => void,
    options?: BusOptions,
  ): Promise<Subscription>;
  /** True while the transport is connected. */
  connected(): boolean;
  /**
   * Calls `action` whenever the transport is connected again: messages of the time between are lost.
   * @returns takes the action away
   */
  onRestored(action: () => void): () => void;
  close(): Promise<void>;
}
