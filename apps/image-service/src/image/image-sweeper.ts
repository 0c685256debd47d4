import { type CommandContext, type CommandId, type Milliseconds, type RequestId, seconds } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { blobsTable, deletedImagesTable, imagesTable } from './image.projection.js';
import { imageAggregate } from './image-lifecycle.js';
import type { ImageUploads } from './image-uploads.js';

const ROUND = seconds(15);
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
    await this.endStandingUploads();
    await this.removeDeadBytes();
  }

  private async endStandingUploads(): Promise<void> {
    const { core, store, settings } = this.context;
    const rows = await core.fresh();
    const saving = await rows.find(imagesTable, { where: { status: 'saving' }, limit: BATCH });
    if (saving.every((row) => row.uploadId === null || this.uploads.isActive(row.uploadId))) return;
    const writtenAt = new Map<string, number>();
    for await (const blob of store.list()) writtenAt.set(blob.key, blob.writtenAt);
    const now = Date.parse(core.clock.now());
    for (const { id, uploadId, updatedAt } of saving) {
      if (uploadId === null || this.uploads.isActive(uploadId)) continue;
      const last = Math.max(writtenAt.get(uploadId) ?? 0, Date.parse(updatedAt));
      // Longer than a living upload may stand still, committing included.
      if (now - last < 2 * settings.idleTimeout) continue;
      const command = { kind: 'failUpload', imageId: id, uploadId, reason: 'the upload was interrupted' } as const;
      await core.commands.execute(imageAggregate, id, command, this.contextFor(uploadId));
    }
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

  private contextFor(uploadId: string): CommandContext {
    const requestId = `req-${uploadId}` as RequestId;
    return {
      actor: { kind: 'service', service: 'image-service' },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: `sweep/${uploadId}` as CommandId,
    };
  }
}
