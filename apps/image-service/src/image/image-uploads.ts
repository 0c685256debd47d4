import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import {
  type Bytes,
  type CommandContext,
  DomainError,
  type ImageFormat,
  type ImageId,
  invalid,
  type Milliseconds,
  seconds,
  unavailable,
} from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { ImageInspector } from '../formats/index.js';
import { type StoredBytes, tablesProblem } from '../formats/tables.js';
import { ovaDisk } from '../forms/ova-disk.js';
import { type Taker, Turns } from '../forms/turns.js';
import type { ImageWriter } from '../store/index.js';
import type { ImageRow } from './image.projection.js';
import { imageAggregate } from './image-lifecycle.js';

/** What is read and thrown away of a refused upload, so that its sender gets to hear the reason. */
const MAX_DRAIN = 64 * 1024 * 1024 * 1024;

/** Imports of one project that may wait for their turn. */
const WAITING = 64;

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
  readonly sha256: string;
  readonly virtualSize: Bytes | null;
  readonly detectedFormat: string;
  readonly format?: ImageFormat;
}

/** Takes bytes in: inspects, hashes and stores in one pass; leaves nothing behind when one fails. */
export class ImageUploads {
  private readonly active = new Set<string>();
  private readonly held = new Set<string>();

  private readonly turns: Turns;

  constructor(private readonly context: ImageContext) {
    this.turns = new Turns({ width: context.settings.maxUploads, leaving: true, room: WAITING });
  }

  /** True while this process receives the upload. */
  isActive(uploadId: string): boolean {
    return this.active.has(uploadId) || this.held.has(uploadId);
  }

  /**
   * @param declared size in bytes as the client says, if it does
   * @param step gives the context of each of the commands
   * @param limit the most bytes that this sender may send
   * @throws DomainError `unsupportedMedia` for bytes that are refused, `tooLarge`, `conflict`, `unavailable`
   */
  receive(
    image: ImageRow,
    body: Readable,
    declared: number | undefined,
    step: (name: string) => CommandContext,
    limit = this.context.settings.maxImageSize,
  ): Promise<void> {
    const most = Math.min(limit, this.context.settings.maxImageSize);
    return this.arriving(image, body, declared, step, most, 'startUpload', async (uploadId, writer) => {
      const received = await this.pump(image, this.chunksOf(body), writer, writer.file, declared, most);
      await writer.commit();
      const complete = { kind: 'completeUpload', imageId: image.id, uploadId, ...received } as const;
      await this.context.core.commands.execute(imageAggregate, image.id, complete, step('complete'));
    });
  }

  /** Keeps bytes for a later import; they are looked at then. Fails as `receive` does. */
  stage(
    image: ImageRow,
    body: Readable,
    declared: number | undefined,
    step: (name: string) => CommandContext,
  ): Promise<void> {
    const most = this.context.settings.maxImageSize;
    return this.arriving(image, body, declared, step, most, 'startStaging', async (uploadId, writer) => {
      let size = 0;
      for await (const chunk of this.chunksOf(body)) {
        size += chunk.length;
        if (size > most) throw this.tooLarge();
        await writer.write(chunk);
      }
      assertDeclared(size, declared);
      await writer.commit();
      const complete = { kind: 'completeStaging', imageId: image.id, uploadId } as const;
      await this.context.core.commands.execute(imageAggregate, image.id, complete, step('complete'));
    });
  }

  /**
   * The bytes of an import that began: staged ones, or those of `open`, which are stored on the way.
   * @throws what went wrong; nothing is kept then, and the log is told by the caller
   */
  async import(
    image: ImageRow,
    uploadId: string,
    open: (() => Promise<Readable>) | null,
    step: (name: string) => CommandContext,
  ): Promise<void> {
    this.active.add(uploadId);
    const stop = this.showAlive(uploadId);
    let writer: ImageWriter | undefined;
    try {
      writer = open ? await this.context.store.begin(uploadId) : undefined;
      await this.turns.take(takerOf(image), () => this.importNow(image, uploadId, writer, open, step));
    } catch (error) {
      await writer?.abort();
      throw error;
    } finally {
      stop();
      this.active.delete(uploadId);
    }
  }

  /** By the time of its blob other replicas see that an import is alive, which waits, or only reads. @returns ends it */
  private showAlive(uploadId: string): () => void {
    const { core, store, settings } = this.context;
    const next = (): (() => void) =>
      core.clock.after(settings.idleTimeout as Milliseconds, () => {
        // Where that cannot be, the import itself tells why.
        store.touch(uploadId).catch(() => {});
        cancel = next();
      });
    let cancel = next();
    return () => cancel();
  }

  private async importNow(
    image: ImageRow,
    uploadId: string,
    writer: ImageWriter | undefined,
    open: (() => Promise<Readable>) | null,
    step: (name: string) => CommandContext,
  ): Promise<void> {
    const { core, store, settings } = this.context;
    const most = settings.maxImageSize;
    let body: Readable | undefined;
    let staged: FileHandle | null = null;
    try {
      body = open ? await open() : await store.read(uploadId);
      staged = open ? null : await store.openFile(uploadId);
      const file = writer ? writer.file : (staged ?? undefined);
      const received = await this.pump(image, this.chunksOf(body), writer, file, undefined, most);
      await writer?.commit();
      const complete = { kind: 'completeUpload', imageId: image.id, uploadId, ...received } as const;
      await core.commands.execute(imageAggregate, image.id, complete, step('complete'));
    } catch (error) {
      body?.destroy();
      const state = await core.commands.load(imageAggregate, image.id);
      if (state?.uploadId !== uploadId || state.status !== 'active') await store.remove(uploadId);
      throw error;
    } finally {
      await staged?.close();
    }
  }

  /** Counts an upload as alive while `work` makes its bytes. */
  async holding(uploadId: string, work: () => Promise<void>): Promise<void> {
    this.held.add(uploadId);
    try {
      await work();
    } finally {
      this.held.delete(uploadId);
    }
  }

  /** What uploads and staging have in common: turns, the start, and the end of one that fails. */
  private async arriving(
    image: ImageRow,
    body: Readable,
    declared: number | undefined,
    step: (name: string) => CommandContext,
    most: number,
    kind: 'startUpload' | 'startStaging',
    take: (uploadId: string, writer: ImageWriter) => Promise<void>,
  ): Promise<void> {
    const { core, store } = this.context;
    if (declared !== undefined && declared > most) throw await this.drained(body, this.tooLarge());
    const giveBack = this.turns.takeNow(takerOf(image));
    if (!giveBack) throw await this.drained(body, unavailable('Too many uploads are under way. Please try again.'), 0);
    const uploadId = core.ids.uuid();
    this.active.add(uploadId);
    let writer: ImageWriter | undefined;
    try {
      await core.commands
        .execute(imageAggregate, image.id, { kind, imageId: image.id, uploadId }, step('start'))
        .catch(async (error) => Promise.reject(await this.drained(body, error)));
      try {
        writer = await store.begin(uploadId, declared);
        await take(uploadId, writer);
      } catch (error) {
        await writer?.abort();
        await this.giveUp(image.id, uploadId, error, step('fail'));
        throw await this.drained(body, error);
      }
    } finally {
      this.active.delete(uploadId);
      giveBack();
    }
  }

  /** One pass over the bytes. */
  private async pump(
    image: ImageRow,
    chunks: AsyncIterable<Buffer>,
    writer: ImageWriter | undefined,
    file: FileHandle | undefined,
    declared: number | undefined,
    most: number,
  ): Promise<Received> {
    const inspector = new ImageInspector(image.diskFormat ?? '', image.containerFormat ?? '');
    const hashes = { checksum: createHash('md5'), sha512: createHash('sha512'), sha256: createHash('sha256') };
    let size = 0;
    for await (const chunk of chunks) {
      size += chunk.length;
      if (size > most) throw this.tooLarge();
      const refusal = inspector.feed(chunk);
      if (refusal !== null) throw new ImageDataRefused(refusal);
      for (const hash of Object.values(hashes)) hash.update(chunk);
      await writer?.write(chunk);
    }
    assertDeclared(size, declared);
    const verdict = inspector.end();
    if (verdict.refusal !== null) throw new ImageDataRefused(verdict.refusal);
    const cutOff = verdict.form && file ? await cutOffProblem(verdict.form, file, size) : null;
    if (cutOff !== null) throw new ImageDataRefused(cutOff);
    return {
      size: size as Bytes,
      ...{ checksum: hashes.checksum.digest('hex'), sha512: hashes.sha512.digest('hex') },
      sha256: hashes.sha256.digest('hex'),
      virtualSize: verdict.virtualSize as Bytes | null,
      detectedFormat: verdict.format,
      ...(verdict.form === null ? {} : { format: verdict.form }),
    };
  }

  /** The body's chunks; one that stands still for too long, comes too slowly, or breaks off, is an error. */
  private async *chunksOf(body: Readable): AsyncIterable<Buffer> {
    const { clock } = this.context.core;
    const { idleTimeout, leastRate } = this.context.settings;
    const chunks = body.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]();
    // What is waited for the sender takes from it, and what arrives adds to it, by the least rate.
    let patience = idleTimeout;
    for (;;) {
      const since = Date.parse(clock.now());
      let cancel = () => {};
      const idle = new Promise<never>((_, reject) => {
        cancel = clock.after(patience as Milliseconds, () => reject(invalid('The image data did not arrive in time.')));
      });
      try {
        const next = await Promise.race([chunks.next(), idle]);
        if (next.done) return;
        const chunk = next.value as Buffer;
        if (leastRate > 0) {
          const waited = Date.parse(clock.now()) - since;
          patience = Math.min(idleTimeout, Math.max(0, patience - waited) + (chunk.length * 1_000) / leastRate);
        }
        yield chunk;
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

/** What is nobody's, as disks on their way between hosts, counts by itself. */
const takerOf = ({ id, owner }: ImageRow): Taker => ({ of: owner ?? id });

const storedBytes = (file: FileHandle, size: number, start = 0): StoredBytes => ({
  size,
  read: async (offset, length) => {
    const within = Math.max(0, Math.min(length, size - offset));
    const { buffer, bytesRead } = await file.read(Buffer.alloc(within), 0, within, start + offset);
    return buffer.subarray(0, bytesRead);
  },
});

const cutOffProblem = async (form: ImageFormat, file: FileHandle, size: number): Promise<string | null> => {
  if (form !== 'ova') return tablesProblem(form, storedBytes(file, size));
  const disk = await ovaDisk(file);
  return disk && tablesProblem('vmdk', storedBytes(file, disk.size, disk.offset));
};

const assertDeclared = (size: number, declared: number | undefined): void => {
  if (declared !== undefined && size !== declared)
    throw invalid(`The image has ${size} bytes and not ${declared} as the request says.`);
};

const invalidBody = (cause: unknown): DomainError =>
  new DomainError('invalid', 'The image data could not be read to its end.', { cause });
