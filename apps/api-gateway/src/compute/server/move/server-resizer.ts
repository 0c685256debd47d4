import { Injectable } from '@nestjs/common';
import { cpuPolicyOf, type FlavorSnapshot, invalid, type MigrationId } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import * as t from '../../common/parameters.js';
import { ComputeSettings } from '../../compute-ports.js';
import { defaultQuota } from '../../quota/defaults.js';
import { quotaAggregate } from '../../quota/quota.js';
import { quotaFor } from '../create/server.reservation.js';
import { assertDiskFits, flavorFor } from '../create/server-makings.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import type { ServerRow } from '../view/server.projection.js';
import { guardResize } from './server-resize.js';

export const resizeSchema = z.strictObject({ flavorRef: t.flavorRef, 'OS-DCF:diskConfig': t.diskConfig.optional() });
type Wanted = z.infer<typeof resizeSchema>;

/** Takes the wish for another flavor: checks what can be known now, and writes it to the log. */
@Injectable()
export class ServerResizer {
  constructor(
    private readonly core: GatewayCore,
    private readonly settings: ComputeSettings,
  ) {}

  async resize(call: Call, row: ServerRow, wanted: Wanted): Promise<undefined> {
    guardResize(row, row.id, call.isAdmin);
    const unknown = () => 'Unable to locate requested flavor.';
    const flavor = await flavorFor(call, await this.core.fresh(), wanted.flavorRef, unknown);
    if (flavor.id === row.flavor.id) throw invalid('When resizing, instances must change flavor!');
    await this.checkQuota(row, flavor);
    checkFit(row, flavor);
    const diskConfig = wanted['OS-DCF:diskConfig'];
    await this.core.commands.execute(
      serverAggregate,
      row.id,
      {
        ...{ type: 'resize', serverId: row.id, flavor, asAdmin: call.isAdmin },
        ...(diskConfig ? { diskConfig } : {}),
        migrationId: this.core.ids.uuid() as MigrationId,
      },
      call.context(),
    );
    return undefined;
  }

  /**
   * Nothing is taken yet: of several resizes of a server that are asked for at once, only one comes to be.
   * @throws DomainError `overQuota`
   */
  private async checkQuota(row: ServerRow, flavor: FlavorSnapshot): Promise<void> {
    const resized = { ...row, resize: { flavor, before: row.flavor, powerOn: false } };
    const command = { ...quotaFor(resized), defaults: { ...defaultQuota, ...this.settings.quota } };
    quotaAggregate.decide(command, await this.core.commands.load(quotaAggregate, row.projectId));
  }
}

const checkFit = ({ flavor: before, image }: ServerRow, flavor: FlavorSnapshot): void => {
  if (flavor.memory < image.minRam) throw invalid("Flavor's memory is too small for requested image.");
  if (flavor.disk < before.disk || flavor.ephemeral < before.ephemeral)
    throw invalid('Server disk was unable to be resized because: a disk cannot be made smaller');
  assertDiskFits(flavor, image);
  const { conflict } = cpuPolicyOf(flavor, image);
  if (conflict !== null) throw invalid(conflict);
};
