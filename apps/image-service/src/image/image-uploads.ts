import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import {
  type Bytes,
  type CommandContext,
  DomainError,
  type ImageId,
  invalid,
  type Milliseconds,
  seconds,
  unavailable,
} from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { ImageInspector } from '../formats/index.js';
import type { ImageWriter } from '../store/index.js';
import type { ImageRow } from './image.projection.js';
import { imageAggregate } from './image-lifecycle.js';

/** What is read and thrown away of a refused upload, so that its sender gets to hear the reason. */
const MAX_DRAIN = 64 * 1024 * 1024 * 1024;

/** Time for the answer to get through before the connection is cut. */
const HANG_UP = seconds(1);

/** The bytes are not what the image says, or refer to what is not theirs. */
export class ImageDataRefused extends DomainError {
  constructor(reason: string) {
    super('unsupportedMedia', reason);
  }
}

interface Received {
  readonly size: Bytes;
  readonly checksum: string;
  readonly sha512: string;
  readonly virtualSize: Bytes | null;
  readonly detectedFormat: string;
}

/** Takes uploads in: inspects, hashes and stores in one pass; leaves nothing behind when one fails. */
export class ImageUploads {
  private readonly active = new Set<string>();

  constructor(private readonly context: ImageContext) {}

  /** True while this process receives the upload. */
  isActive(uploadId: string): boolean {
    return this.active.has(uploadId);
  }

  /**
   * @param declared size in bytes as the client says, if it does
   * @param step gives the context of each of the commands
   * @throws DomainError `unsupportedMedia` for bytes that are refused, `tooLarge`, `conflict`, `unavailable`
   */
  async receive(
    image: ImageRow,
    body: Readable,
    declared: number | undefined,
    step: (name: string) => CommandContext,
  ): Promise<void> {
    const { core, settings } = this.context;
    if (declared !== undefined && declared > settings.maxImageSize) throw await this.drained(body, this.tooLarge());
    if (this.active.size >= settings.maxUploads)
      throw await this.drained(body, unavailable('Too many uploads are under way. Please try again.'), 0);
    const uploadId = core.ids.uuid();
    this.active.add(uploadId);
    try {
      const start = { kind: 'startUpload', imageId: image.id, uploadId } as const;
      await core.commands
        .execute(imageAggregate, image.id, start, step('start'))
        .catch(async (error) => Promise.reject(await this.drained(body, error)));
      await this.take(image, uploadId, body, declared, step);
    } finally {
      this.active.delete(uploadId);
    }
  }

  private async take(
    image: ImageRow,
    uploadId: string,
    body: Readable,
    declared: number | undefined,
    step: (name: string) => CommandContext,
  ): Promise<void> {
    const { core, store } = this.context;
    let writer: ImageWriter | undefined;
    try {
      writer = await store.begin(uploadId, declared);
      const received = await this.pump(image, body, writer, declared);
      await writer.commit();
      const complete = { kind: 'completeUpload', imageId: image.id, uploadId, ...received } as const;
      await core.commands.execute(imageAggregate, image.id, complete, step('complete'));
    } catch (error) {
      await writer?.abort();
      await this.giveUp(image.id, uploadId, error, step('fail'));
      throw await this.drained(body, error);
    }
  }

  /** One pass over the body. */
  private async pump(
    image: ImageRow,
    body: Readable,
    writer: ImageWriter,
    declared: number | undefined,
  ): Promise<Received> {
    const inspector = new ImageInspector(image.diskFormat ?? '', image.containerFormat ?? '');
    const md5 = createHash('md5');
    const sha512 = createHash('sha512');
    let size = 0;
    for await (const chunk of this.chunksOf(body)) {
      size += chunk.length;
      if (size > this.context.settings.maxImageSize) throw this.tooLarge();
      const refusal = inspector.feed(chunk);
      if (refusal !== null) throw new ImageDataRefused(refusal);
      md5.update(chunk);
      sha512.update(chunk);
      await writer.write(chunk);
    }
    if (declared !== undefined && size !== declared)
      throw invalid(`The image has ${size} bytes and not ${declared} as the request says.`);
    const verdict = inspector.end();
    if (verdict.refusal !== null) throw new ImageDataRefused(verdict.refusal);
    return {
      size: size as Bytes,
      checksum: md5.digest('hex'),
      sha512: sha512.digest('hex'),
      virtualSize: verdict.virtualSize as Bytes | null,
      detectedFormat: verdict.format,
    };
  }

  /** The body's chunks; one that stands still for too long, or breaks off, is an error. */
  private async *chunksOf(body: Readable): AsyncIterable<Buffer> {
    const { clock } = this.context.core;
    const chunks = body.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]();
    for (;;) {
      let cancel = () => {};
      const idle = new Promise<never>((_, reject) => {
        cancel = clock.after(this.context.settings.idleTimeout as Milliseconds, () =>
          reject(invalid('The image data did not arrive in time.')),
        );
      });
      try {
        const next = await Promise.race([chunks.next(), idle]);
        if (next.done) return;
        yield next.value as Buffer;
      } catch (error) {
        if (error instanceof DomainError) throw error;
        throw invalidBody(error);
      } finally {
        cancel();
      }
    }
  }

  /** Back to `queued`; the bytes go, unless the log has them after all. */
  private async giveUp(imageId: ImageId, uploadId: string, error: unknown, context: CommandContext): Promise<void> {
    const { core, store } = this.context;
    const reason = error instanceof DomainError ? error.message : 'internal error';
    const kind = error instanceof ImageDataRefused ? 'refuseUpload' : 'failUpload';
    await core.commands.execute(imageAggregate, imageId, { kind, imageId, uploadId, reason }, context);
    const state = await core.commands.load(imageAggregate, imageId);
    const kept = state !== null && state.uploadId === uploadId && state.status !== 'deleted';
    if (!kept) await store.remove(uploadId);
  }

  /** Lets the client finish sending, as most read no answer before; then gives the error back. */
  private async drained<E>(body: Readable, error: E, limit = MAX_DRAIN): Promise<E> {
    let size = 0;
    try {
      if (body.readableEnded || body.destroyed) return error;
      for await (const chunk of this.chunksOf(body)) {
        size += chunk.length;
        if (size > limit) break;
      }
    } catch {
      // The client went away or stands still: it may hear the answer, nothing more is heard from it.
    }
    if (!body.readableEnded) this.context.core.clock.after(HANG_UP, () => body.destroy());
    return error;
  }

  private tooLarge(): DomainError {
    return new DomainError(
      'tooLarge',
      'The incoming image is too large: The size of the data exceeds the limit of this cloud.',
    );
  }
}

const invalidBody = (cause: unknown): DomainError =>
  new DomainError('invalid', 'The image data could not be read to its end.', { cause });
