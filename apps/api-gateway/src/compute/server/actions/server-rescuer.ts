import { Injectable } from '@nestjs/common';
import { type ImageSnapshot, invalid } from '@omnivisor/contracts';
import { type Call, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import * as t from '../../common/parameters.js';
import { objectByVersion } from '../../common/versions.js';
import { imageSnapshot, usableImage } from '../create/server-makings.js';
import { newPassword } from '../create/server-password.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import { guestInPlace } from '../state/adopted-guest.js';
import type { ServerRow } from '../view/server.projection.js';
import { HostOfImage } from './host-of-image.js';
import { guardRescue, type RescueCommand } from './server-rescue.js';

export const rescueSchema = objectByVersion(
  { adminPass: [['2.1', z.string().optional()]], rescue_image_ref: [['2.1', t.uuid.optional()]] },
  (object) => object.nullable(),
);
type Wanted = { readonly adminPass?: string; readonly rescue_image_ref?: string } | null;

/** Takes the wish to start a server from a rescue image: by default from the image it was made of. */
@Injectable()
export class ServerRescuer {
  constructor(
    private readonly core: GatewayCore,
    private readonly host: HostOfImage,
  ) {}

  async rescue(call: Call, row: ServerRow, wanted: Wanted): Promise<Reply> {
    guardRescue(row, row.id, call.isAdmin, 'rescue');
    const image = await this.image(call, row, wanted?.rescue_image_ref);
    if (image.id !== row.image.id) await this.host.check(row, image, 'rescue');
    const command: RescueCommand = { type: 'rescue', serverId: row.id, image, asAdmin: call.isAdmin };
    await this.core.commands.execute(serverAggregate, row.id, command, call.context());
    return new Reply({ adminPass: wanted?.adminPass ?? newPassword() }, { status: 200 });
  }

  private async image(call: Call, row: ServerRow, ref: string | undefined): Promise<ImageSnapshot> {
    if (ref === undefined && guestInPlace(row))
      throw invalid(`Instance ${row.id} was adopted and has no image: name one to rescue it.`);
    if (ref === undefined) return row.image;
    const image = await usableImage(this.core, call, ref);
    const unsuitable = `Requested rescue image '${ref}' is not supported`;
    if (image?.status !== 'active') throw invalid(unsuitable);
    return imageSnapshot(this.core, call, image, unsuitable);
  }
}
