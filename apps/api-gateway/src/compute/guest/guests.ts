import { Injectable } from '@nestjs/common';
import { features, GuestDetails, unavailable } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import { hostTable } from '../host/host.projection.js';
import { LiveAnswers, toldBy } from '../host/live-answers.js';
import { notBuilt, notReady } from '../server/actions/server-actions.js';
import { invalidState } from '../server/state/server-rules.js';
import type { ServerRow } from '../server/view/server.projection.js';

/** By either of them a guest can tell of itself. */
const ways = [features.guestIntegration.trait, features.guestAgent.trait];

/** What the guests of servers tell of themselves, asked at the time of the request and kept nowhere. */
@Injectable()
export class Guests {
  constructor(private readonly live: LiveAnswers) {}

  /**
   * @throws DomainError `unsupported` where the hypervisor has no way to hear of it, `conflict` of a server that does not
   *   run, `unavailable` when its host does not tell
   */
  async tell(rows: RowReader, row: ServerRow): Promise<GuestDetails> {
    const host = row.onHost === null ? undefined : await rows.get(hostTable, row.onHost);
    if (!host?.facts || !row.spawned) throw notReady(row.id);
    const { traits } = host.facts;
    if (!ways.some((trait) => traits.includes(trait))) throw notBuilt();
    if (row.power !== 'running') throw invalidState('get_guest', row.id, 'power state', row.power);
    if (!host.up) throw unavailable('The host of the server is down.');
    const answer = await this.live.ask(host.id, { kind: 'guestDetails', serverId: row.id });
    if (answer.unsupported) throw notBuilt();
    return toldBy(answer, GuestDetails, 'The host of the server cannot tell of it now.');
  }
}
