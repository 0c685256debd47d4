import type { FileHandle } from 'node:fs/promises';
import { type Bytes, GuestFacts, type ImageFormat } from '@omnivisor/contracts';
import { z } from 'zod';
import type { ImageContext } from '../core.js';
import { isPlain } from '../forms/compositions.js';
import { ovaDisk } from '../forms/ova-disk.js';
import { canRead } from '../forms/qemu-img.js';
import { formOf, storedBound } from '../forms/stored-form.js';
import type { ImageRow } from '../image/image.projection.js';
import type { Sandbox } from '../sandbox/sandbox.js';
import { Unreadable } from './disk.js';
import type { BootPlan } from './inspect-guest.js';
import { LOOK_BYTES } from './look-task.js';
import { LOOK_LIMITS, LOOK_PROGRAM, type Look, type LookTool, lookInto, type StoredImage } from './open-disk.js';

const Place = z.object({ kind: z.string(), partition: z.number() });
const Plan: z.ZodType<BootPlan> = z.object({
  ...{ initramfsPath: z.string(), release: z.string() },
  ...{ root: Place, bootPartition: Place.nullable() },
});

/** Looks at the disks in images, each time in a process of its own. All of it throws `Unreadable` for what cannot be had. */
export class GuestDisks {
  private readonly tool: LookTool;

  constructor(
    private readonly context: ImageContext,
    sandbox: Sandbox,
    program = LOOK_PROGRAM,
  ) {
    this.tool = { sandbox, program, limits: LOOK_LIMITS };
  }

  /** False for what has no disk, and where the tool that reads its format is missing: that says nothing of the image. */
  canLook(row: ImageRow): boolean {
    const form = diskForm(row);
    return form !== null && (isPlain(form) || this.tool.sandbox.has('qemu-nbd'));
  }

  facts(row: ImageRow, signal?: AbortSignal): Promise<GuestFacts> {
    return this.look(row, { what: 'facts', answer: GuestFacts, signal });
  }

  factsOf(image: StoredImage): Promise<GuestFacts> {
    return lookInto(this.tool, image, { what: 'facts', answer: GuestFacts });
  }

  /** Copies the guest's kernel and initial RAM disk into files. */
  plan(
    row: ImageRow,
    to: { readonly kernel: FileHandle; readonly initramfs: FileHandle },
    signal: AbortSignal,
  ): Promise<BootPlan> {
    const files = [to.kernel, to.initramfs];
    return this.look(row, { what: 'plan', answer: Plan, to: files, most: LOOK_BYTES as Bytes, signal });
  }

  /** Copies the guest's kernel or initial RAM disk. */
  async write(row: ImageRow, what: 'aki' | 'ari', to: FileHandle, signal: AbortSignal): Promise<void> {
    const most = storedBound(row, what) as Bytes;
    await this.look(row, { what, answer: z.null(), to: [to], most, signal });
  }

  private async look<T>(row: ImageRow, look: Look<T>): Promise<T> {
    const form = diskForm(row);
    const handle = row.uploadId === null ? null : await this.context.store.openFile(row.uploadId);
    if (!handle) throw new Unreadable('its bytes lie in no file');
    try {
      const stretch = form === 'ova' ? await ovaDisk(handle) : undefined;
      if (form === null || stretch === null) throw new Unreadable('it has not one disk');
      return await lookInto(this.tool, { handle, form, size: row.size!, ...(stretch ? { stretch } : {}) }, look);
    } finally {
      await handle.close();
    }
  }
}

/** The form of an image's bytes when there is a disk in them that can be read. */
export const diskForm = (row: ImageRow): ImageFormat | null => {
  const form = formOf(row);
  return form !== null && canRead(form) ? form : null;
};
