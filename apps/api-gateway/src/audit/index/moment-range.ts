import { invalid, type Position, unavailable } from '@omnivisor/contracts';
import { EventStoreUnavailable, momentAt, type PastMoment } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';

/**
 * A position of the log or a time (RFC 3339), as both.
 * @throws DomainError `invalid` for what is neither, or still to come; `unavailable`
 */
export const momentOf = async (core: GatewayCore, moment: string): Promise<PastMoment> => {
  try {
    return await momentAt(core.store, moment, Date.parse(core.clock.now()));
  } catch (error) {
    if (error instanceof EventStoreUnavailable) throw unavailable('the log cannot be reached', error);
    throw error;
  }
};

/**
 * The part of the log between two moments; the later one belongs to it.
 * @throws DomainError `invalid`, `unavailable`
 */
export const momentRange = async (
  core: GatewayCore,
  from: string | undefined,
  to: string | undefined,
): Promise<{ after: Position; until: Position }> => {
  const after = from === undefined ? 0 : (await momentOf(core, from)).position;
  const until = to === undefined ? await core.head() : (await momentOf(core, to)).position;
  if (after > until) throw invalid('That period ends before it begins.');
  return { after, until };
};
