import { Injectable } from '@nestjs/common';
import {
  abortSnapshotImage,
  beginSnapshotImage,
  DomainError,
  GiB,
  type HostId,
  type ImageId,
  invalid,
  type ServerSnapshot,
  unsupported,
} from '@omnivisor/contracts';
import { type Call, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import { linksOf } from '../../common/paging.js';
import * as t from '../../common/parameters.js';
import { ComputeSettings } from '../../compute-ports.js';
import { hostTable } from '../../host/host.projection.js';
import { defaultQuota } from '../../quota/defaults.js';
import { limitOf, quotaAggregate } from '../../quota/quota.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import type { ServerRow } from '../view/server.projection.js';
import { guardSnapshot } from './server-snapshot.js';
import { diskOf, mostBytes, uploadOf } from './snapshot-upload.js';

export const createImage = z.strictObject({ name: t.name, metadata: t.metadata.optional() });
type Wanted = z.infer<typeof createImage>;

/** Names that each image has by itself. */
const OWN_NAMES: ReadonlySet<string> = new Set([
  ...[
    'id',
    'name',
    'status',
    'visibility',
    'protected',
    'owner',
    'tags',
    'self',
    'file',
    'schema',
    'locations',
    'stores',
  ],
  ...['size', 'virtual_size', 'checksum', 'os_hash_algo', 'os_hash_value', 'os_hidden', 'direct_url'],
  ...['container_format', 'disk_format', 'min_ram', 'min_disk', 'created_at', 'updated_at'],
]);

/** Takes the wish to make an image of a server: the image is there at once, and waits for its bytes. */
@Injectable()
export class ServerSnapshotter {
  constructor(
    private readonly core: GatewayCore,
    private readonly settings: ComputeSettings,
  ) {}

  async createImage(call: Call, row: ServerRow, { name, metadata = {} }: Wanted): Promise<Reply> {
    guardSnapshot(row, row.id);
    await this.checkMetadata(row, metadata);
    const imageId = this.core.ids.uuid() as ImageId;
    const hostId = row.onHost as HostId;
    const owner = call.token.projectId ?? row.projectId;
    const snapshot: ServerSnapshot = {
      ...{ imageId, owner, name: name.trim() },
      format: await this.formatOf(hostId),
      maxBytes: mostBytes(row),
    };
    await this.core.bus.request(beginSnapshotImage, {
      context: call.context('image'),
      minDisk: GiB.parse(Math.max(row.image.minDisk, diskOf(row))),
      minRam: row.image.minRam,
      properties: { ...row.image.properties, ...told(row), ...metadata },
      ...uploadOf(snapshot, hostId),
    });
    try {
      const command = { type: 'snapshot', serverId: row.id, snapshot } as const;
      await this.core.commands.execute(serverAggregate, row.id, command, call.context());
    } catch (error) {
      if (error instanceof DomainError && error.kind !== 'unavailable')
        await this.core.bus.request(abortSnapshotImage, { imageId, context: call.context('abort') });
      throw error;
    }
    if (call.since('2.45')) return new Reply({ image_id: imageId }, { status: 202 });
    const location = linksOf(call.publicUrl, 'images', imageId)[0]!.href;
    return new Reply(undefined, { status: 202, headers: { location } });
  }

  private async formatOf(hostId: string): Promise<ServerSnapshot['format']> {
    const host = await (await this.core.fresh()).get(hostTable, hostId);
    const format = host?.facts?.snapshotFormats?.[0];
    if (!format) throw unsupported('The requested functionality is not supported.');
    return format;
  }

  private async checkMetadata({ projectId }: ServerRow, metadata: Readonly<Record<string, string>>): Promise<void> {
    const names = Object.keys(metadata);
    const own = names.find((name) => OWN_NAMES.has(name.toLowerCase()));
    if (own !== undefined) throw invalid(`Invalid image metadata. Error: ${own} is not a custom property`);
    const quota = await this.core.commands.load(quotaAggregate, projectId);
    const most = limitOf(quota, { ...defaultQuota, ...this.settings.quota }, 'metadata_items');
    if (most >= 0 && names.length > most) throw new DomainError('overQuota', 'Image metadata limit exceeded');
  }
}

/** What an image says of the server it was made of, by Nova's names. */
const told = ({ id, userId, image }: ServerRow) => ({
  image_type: 'snapshot',
  instance_uuid: id,
  user_id: userId,
  base_image_ref: image.id,
});
