import { type Milliseconds, seconds } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import type { FormCollector } from '../forms/form-collector.js';
import { serviceContext } from '../service-context.js';
import { blobsTable, deletedImagesTable, type ImageRow, imagesTable, transfersTable } from './image.projection.js';
import { imageAggregate } from './image-lifecycle.js';
import type { ImageUploads } from './image-uploads.js';

const ROUND = seconds(60);
const BATCH = 200;

/**
 * Cleans up behind replicas that died: an upload that stands still goes back to `queued`, and bytes that the log says
 * are dead are removed. Bytes the log knows nothing of are left alone.
 */
export class ImageSweeper {
  private cancel = () => {};
  private stopped = false;
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly context: ImageContext,
    private readonly uploads: ImageUploads,
    private readonly collector: FormCollector,
    private readonly onError: (where: string, error: unknown) => void,
    private readonly round: Milliseconds = ROUND,
  ) {}

  start(): void {
    if (this.stopped) return;
    this.cancel = this.context.core.clock.after(this.round, () => {
      this.running = this.sweep()
        .catch((error) => this.onError('image sweeper', error))
        .finally(() => this.start());
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancel();
    await this.running;
  }

  async sweep(): Promise<void> {
    await this.endTransfers();
    await this.endStandingUploads();
    await this.collector.collect();
    await this.removeDeadBytes();
  }

  /** Disks that nobody fetched in time. */
  private async endTransfers(): Promise<void> {
    const { core } = this.context;
    const where = { transferExpiresAt: { lt: core.clock.now() } };
    for (const { id } of await (await core.fresh()).find(transfersTable, { where, limit: BATCH }))
      await core.commands.execute(imageAggregate, id, { kind: 'delete', imageId: id }, serviceContext(id, 'expired'));
  }

  private async endStandingUploads(): Promise<void> {
    const { core, store, settings } = this.context;
    const rows = await core.fresh();
    const where = { status: { in: ['saving', 'uploading', 'importing'] } };
    const found = [
      ...(await rows.find(imagesTable, { where, limit: BATCH })),
      ...(await rows.find(transfersTable, { where, limit: BATCH })),
    ];
    const arriving = found.filter(
      (row) =>
        row.uploadId !== null && !this.uploads.isActive(row.uploadId) && !(row.status === 'uploading' && row.staged),
    );
    if (arriving.length === 0) return;
    const writtenAt = new Map<string, number>();
    for await (const blob of store.list()) writtenAt.set(blob.key, blob.writtenAt);
    const now = Date.parse(core.clock.now());
    for (const row of arriving) {
      const last = Math.max(writtenAt.get(row.uploadId!) ?? 0, Date.parse(row.updatedAt));
      // Longer than a living upload may stand still, committing included.
      if (now - last >= 2 * settings.idleTimeout) await this.giveUp(row);
    }
  }

  private async giveUp({ id, uploadId, taskId }: ImageRow): Promise<void> {
    const reason = 'the upload was interrupted';
    const command = taskId
      ? ({ kind: 'failImport', imageId: id, taskId, reason } as const)
      : ({ kind: 'failUpload', imageId: id, uploadId: uploadId!, reason } as const);
    await this.context.core.commands.execute(imageAggregate, id, command, serviceContext(uploadId!, 'sweep'));
  }

  private async removeDeadBytes(): Promise<void> {
    const { core, store } = this.context;
    const rows = await core.fresh();
    let keys: string[] = [];
    const remove = async () => {
      const blobs = await rows.getMany(blobsTable, keys);
      const deleted = await rows.getMany(
        deletedImagesTable,
        [...blobs.values()].map((b) => b.imageId),
      );
      for (const [key, blob] of blobs)
        if ((blob.state === 'dead' || deleted.has(blob.imageId)) && !this.uploads.isActive(key))
          await store.remove(key);
      keys = [];
    };
    for await (const { key } of store.list()) {
      keys.push(key);
      if (keys.length >= BATCH) await remove();
    }
    await remove();
  }
}
