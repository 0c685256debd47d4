import type { CommandContext } from '@omnivisor/contracts';
import type { Process } from '@omnivisor/eventsourcing';
import type { GatewayCore } from '../core/gateway-core.js';
import { type ReservationKind, reservationTable } from './reservation.js';
import { RESERVATION_PROCESS } from './reservation.projection.js';

/** Gives back what is held by something that is gone or never came. */
export class ReservationProcess implements Process {
  readonly name = RESERVATION_PROCESS;

  constructor(
    private readonly core: GatewayCore,
    private readonly kinds: Readonly<Record<string, ReservationKind>>,
  ) {}

  async step(key: string): Promise<void> {
    const row = await this.core.readModel.get(reservationTable, key);
    if (!row || row.owner === 'there') return;
    const kind = this.kinds[row.kind];
    if (!kind) throw new Error(`nothing is known of reservations of the kind ${row.kind}`);
    if (row.owner === 'expected' && !(await kind.bar(this.core, row, this.context(key, 'bar')))) return;
    await kind.giveBack(this.core, row, this.context(key, `back ${row.since}`));
  }

  private context(key: string, step: string): CommandContext {
    const requestId = `req-${key.slice(key.indexOf(':') + 1)}` as CommandContext['requestId'];
    return {
      actor: { kind: 'service', service: 'api-gateway' },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: `${RESERVATION_PROCESS}:${key}:${step}` as CommandContext['commandId'],
    };
  }
}
