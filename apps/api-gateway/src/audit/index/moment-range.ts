import type { Position } from '@omnivisor/contracts';
import { invalid } from '@omnivisor/contracts';
import { momentAt } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../../core/gateway-core.js';

/**
 * The part of the log between two moments, each a position or a time (RFC 3339); the later one belongs to it.
 * @throws DomainError `invalid`
 */
export const momentRange = async (
  core: GatewayCore,
  from: string | undefined,
  to: string | undefined,
): Promise<{ after: Position; until: Position }> => {
  const now = Date.parse(core.clock.now());
  const position = async (moment: string) => (await momentAt(core.store, moment, now)).position;
  const after = from === undefined ? 0 : await position(from);
  const until = to === undefined ? await core.head() : await position(to);
  if (after > until) throw invalid('That period ends before it begins.');
  return { after, until };
};
