import { createHash, randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  after,
  conflict,
  type Feature,
  invalid,
  type ProjectId,
  RdpTicket,
  seconds,
  type UserId,
} from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Call } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { requireFeature } from '../host/host-features.js';
import { LiveAnswers, toldBy } from '../host/live-answers.js';
import { notBuilt, notReady } from '../server/actions/server-actions.js';
import type { ServerRow } from '../server/view/server.projection.js';
import { consoleAggregate } from './console.js';
import {
  type ConsoleGrantRow,
  type ConsoleProtocol,
  consoleGrantTable,
  consoleRevocationTable,
} from './console.projection.js';
import { consoleUrl } from './console-url.js';

/** How long a console's token opens it. */
const LIFETIME = seconds(600);

const needs: Readonly<Record<ConsoleProtocol, Feature>> = {
  vnc: 'consoles.vnc',
  serial: 'consoles.serial',
  rdp: 'consoleTickets.rdp',
  mks: 'consoleTickets.mks',
};
const isServed = (protocol: string): protocol is ConsoleProtocol => Object.hasOwn(needs, protocol);

/** The grant behind a console's token while it is good: it ends by itself, and when its server stops or is deleted. */
export const openGrant = async (rows: RowReader, token: string, now: string): Promise<ConsoleGrantRow | null> => {
  const grant = await rows.get(consoleGrantTable, fingerprint(token));
  if (!grant || grant.expiresAt <= now) return null;
  const revoked = await rows.get(consoleRevocationTable, grant.serverId);
  return revoked && revoked.revokedAt > grant.grantedAt ? null : grant;
};
const fingerprint = (token: string) => createHash('sha256').update(token).digest('hex');

/** Lets users on the consoles of their servers. */
@Injectable()
export class Consoles {
  constructor(
    private readonly core: GatewayCore,
    private readonly live: LiveAnswers,
  ) {}

  /**
   * @returns where a client opens the console, with a token
   * @throws DomainError `unsupported` where the server's host has no such console, `conflict` while it does not run
   */
  async open(call: Call, rows: RowReader, row: ServerRow, protocol: string, type: string): Promise<string> {
    if (!isServed(protocol)) throw notBuilt();
    if (type === 'xvpvnc') throw invalid(`Unavailable console type ${type}.`);
    await requireFeature(rows, row, needs[protocol]);
    if (!row.onHost || row.taskState === 'deleting') throw notReady(row.id);
    if (row.power !== 'running') throw conflict(`Instance ${row.id} is not running`);
    const token = randomUUID();
    const grant = {
      ...{ serverId: row.id, projectId: row.projectId as ProjectId, userId: call.token.userId as UserId },
      ...{ fingerprint: fingerprint(token), protocol, type, expiresAt: after(this.core.clock.now(), LIFETIME) },
    };
    await this.core.commands.execute(consoleAggregate, row.id, { type: 'authorize', grant }, call.context('console'));
    return consoleUrl(call.publicRoot, protocol, token);
  }

  /**
   * Where Remote Desktop finds the console.
   * @throws DomainError `unsupported`, `unavailable`
   */
  async rdp({ id, onHost }: ServerRow): Promise<RdpTicket> {
    if (!onHost) throw notReady(id);
    const answer = await this.live.ask(onHost, { kind: 'consoleTicket', serverId: id, protocol: 'rdp' });
    if (answer.unsupported) throw notBuilt();
    return toldBy(answer, RdpTicket, 'The host of the server cannot open its console now.');
  }
}
