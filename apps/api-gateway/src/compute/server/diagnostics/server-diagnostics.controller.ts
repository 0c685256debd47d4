import { Controller } from '@nestjs/common';
import { GuestStatistics, type PowerState, type ServerId, unavailable } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../../core/gateway-core.js';
import { serverOf } from '../../common/access.js';
import { hostTable } from '../../host/host.projection.js';
import { requireFeature } from '../../host/host-features.js';
import { LiveAnswers, toldBy } from '../../host/live-answers.js';
import { notBuilt, notReady } from '../actions/server-actions.js';
import { invalidState } from '../state/server-rules.js';
import { plainDiagnostics, standardDiagnostics } from './server-diagnostics.view.js';

const policy = 'os_compute_api:os-server-diagnostics';

/** What a guest has used, asked of its host at the time of the request. */
@Controller()
export class ServerDiagnosticsController {
  constructor(
    private readonly core: GatewayCore,
    private readonly live: LiveAnswers,
  ) {}

  @Operation({ service: 'compute', method: 'GET', path: '/v2.1/servers/:id/diagnostics', policy, live: true })
  async diagnostics(call: Call) {
    const rows = await this.core.fresh();
    const row = await serverOf(call, rows, call.params.id!, policy);
    await requireFeature(rows, row, 'statistics');
    const host = row.onHost === null ? undefined : await rows.get(hostTable, row.onHost);
    if (!host?.facts || !row.spawned) throw notReady(row.id);
    if (row.power !== 'running') throw invalidState('get_diagnostics', row.id, 'power state', wordOf(row.power));
    if (!host.up) throw unavailable('The host of the server is down.');
    const found = await this.ask(host.id, row.id);
    return call.since('2.48') ? standardDiagnostics(found, host.facts, row.configDrive) : plainDiagnostics(found);
  }

  private async ask(hostId: string, serverId: ServerId): Promise<GuestStatistics> {
    const answer = await this.live.ask(hostId, { kind: 'statistics', serverId });
    if (answer.unsupported) throw notBuilt();
    return toldBy(answer, GuestStatistics, 'The host of the server cannot tell of it now.');
  }
}

const wordOf = (power: PowerState): string => (power === 'noState' ? 'pending' : power);
