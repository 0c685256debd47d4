import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { type Bytes, type ImageFormat, unsupported } from '@omnivisor/contracts';
import type { ImageRow } from '../image/image.projection.js';
import type { Sandbox } from '../sandbox/sandbox.js';
import type { ImageStore, ImageWriter } from '../store/index.js';
import { baseOf, isPlain } from './compositions.js';
import { ovaDisk } from './ova-disk.js';
import { canRead, canWrite, convert } from './qemu-img.js';
import { storedBound } from './stored-form.js';

/** Bytes of a form that had to be made. */
export interface MadeForm {
  readonly size: Bytes;
  readonly sha256: string;
}

const CHUNK = 1024 * 1024;

/** @param alive called for each piece of the bytes */
export const hashed = async (
  bytes: AsyncIterable<Buffer>,
  signal: AbortSignal,
  alive: () => Promise<void>,
): Promise<MadeForm> => {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of bytes) {
    signal.throwIfAborted();
    hash.update(chunk);
    size += chunk.length;
    await alive();
  }
  return { size: size as Bytes, sha256: hash.digest('hex') };
};

/** Makes forms that cannot be put together from what is there: by qemu-img, in the sandbox, into the store. */
export class FormMaker {
  constructor(
    private readonly store: ImageStore,
    /** Null where nothing can be converted. */
    private readonly sandbox: Sandbox | null,
    /** Makes what lies in the guest's file systems: kernel and initial RAM disk. */
    private readonly guestFiles: {
      write(row: ImageRow, what: 'aki' | 'ari', to: FileHandle, signal: AbortSignal): Promise<void>;
    } | null = null,
  ) {}

  /** Why one form cannot be made of another; null when it can. */
  problem(from: ImageFormat, to: ImageFormat): string | null {
    if (!canRead(from)) return `An image in the format ${from} cannot be converted.`;
    if (to === 'aki' || to === 'ari')
      return this.guestFiles && this.sandbox ? null : 'This service cannot look into the guest of an image.';
    if (isPlain(from) && isPlain(to)) return null;
    const made = baseOf(to) ?? to;
    if (!canWrite(made)) return `The format ${to} is not made of others.`;
    return this.sandbox || from === made ? null : 'This service has no converter.';
  }

  /**
   * @param alive called often once the form is made, while its bytes are only read
   * @throws ToolFailed; StoreFull; DomainError; the reason of the signal
   */
  async make(
    row: ImageRow,
    from: ImageFormat,
    to: ImageFormat,
    derivationId: string,
    signal: AbortSignal,
    alive: () => Promise<void>,
  ): Promise<MadeForm> {
    const { sandbox, store } = this;
    if (!sandbox) throw unsupported('This service has no converter.');
    let writer: ImageWriter | undefined;
    try {
      writer = await store.begin(derivationId, storedBound(row, to), true);
      const { file } = writer;
      if (!file) throw unsupported('The image store of this service keeps no files for a converter.');
      if (to === 'aki' || to === 'ari') await this.guestFiles!.write(row, to, file, signal);
      else await this.convert(sandbox, row, from, to, file, signal);
      await file.chmod(0o600);
      const bytes = file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK });
      const made = await hashed(bytes, signal, alive);
      await writer.commit();
      return made;
    } catch (error) {
      await writer?.abort();
      throw error;
    }
  }

  private async convert(
    sandbox: Sandbox,
    row: ImageRow,
    from: ImageFormat,
    to: ImageFormat,
    target: FileHandle,
    signal: AbortSignal,
  ): Promise<void> {
    const handle = await this.store.openFile(row.uploadId!);
    if (!handle) throw unsupported('The image store of this service keeps no files for a converter.');
    try {
      const stretch = from === 'ova' ? await ovaDisk(handle) : undefined;
      if (stretch === null) throw unsupported('An OVA with several disks cannot be converted.');
      const source = { handle, form: from, size: row.size!, virtualSize: row.virtualSize! };
      await convert(sandbox, { ...source, ...(stretch ? { stretch } : {}) }, { handle: target, form: to }, signal);
    } finally {
      await handle.close();
    }
  }
}
