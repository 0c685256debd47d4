import { type ImageFormat, type ImageId, unavailable } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { type FormsRow, formsTable } from '../image/forms.projection.js';
import { imagesTable } from '../image/image.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import { serviceContext } from '../service-context.js';
import { storedBound } from './stored-form.js';

const BATCH = 500;

interface Kept {
  readonly row: FormsRow;
  readonly format: ImageFormat;
  readonly derivationId: string;
  readonly size: number;
  readonly usedAt: number;
}

/** What forms take: those that are kept, and the most that those being made may come to. */
interface Taken {
  readonly kept: readonly Kept[];
  readonly making: number;
}

export const noRoom = (cause?: unknown) =>
  unavailable('There is no room to convert the image now. Please try again later.', cause);

const nameOf = (imageId: string, format: ImageFormat) => `${imageId}/${format}`;

/**
 * Keeps derived forms within bounds: those long unused go, and the least recently used while all are too large.
 * Originals stay. What is being made counts by the most it can become, for an image says nothing true of that.
 */
export class FormRoom {
  /** What this process makes, or is about to. */
  private readonly mine = new Map<string, number>();

  constructor(private readonly context: ImageContext) {}

  /**
   * Takes room for a form before it is made; forms that were not used for long go for it.
   * @param bytes the most it may become
   * @returns gives the room back: when the form is there, or was given up
   * @throws DomainError `unavailable` when there is not so much
   */
  async take(imageId: ImageId, format: ImageFormat, bytes: number): Promise<() => void> {
    if (bytes === 0) return () => {};
    const name = nameOf(imageId, format);
    this.mine.set(name, bytes);
    try {
      await this.collect(bytes);
    } catch (error) {
      this.mine.delete(name);
      throw error;
    }
    return () => this.mine.delete(name);
  }

  /**
   * @param wanted bytes that have to be free on the store's disk
   * @throws DomainError `unavailable` when no dropping would do; nothing is dropped then
   */
  async collect(wanted = 0): Promise<void> {
    const { core, settings, store } = this.context;
    const { kept, making } = await this.taken();
    let total = kept.reduce((sum, k) => sum + k.size, making);
    let lacking = wanted === 0 ? 0 : wanted - (await store.free());
    if (wanted > 0 && (making > settings.formsCapacity || lacking > total - making)) throw noRoom();
    const now = Date.parse(core.clock.now());
    for (const one of [...kept].sort((a, b) => a.usedAt - b.usedAt)) {
      const old = now - one.usedAt > settings.formsMaxAge;
      if (!old && total <= settings.formsCapacity && lacking <= 0) break;
      await this.drop(one);
      total -= one.size;
      lacking -= one.size;
    }
  }

  private async taken(): Promise<Taken> {
    const { core } = this.context;
    const usedAt = new Map<string, number>();
    for await (const { key, writtenAt } of this.context.store.list()) usedAt.set(key, writtenAt);
    const kept: Kept[] = [];
    const making = new Map(this.mine);
    let after: string | undefined;
    for (;;) {
      const rows = await core.fresh();
      const found = await rows.find(formsTable, { limit: BATCH, ...(after === undefined ? {} : { after }) });
      const running = found.filter((row) => row.running).map((row) => row.imageId);
      const images = await rows.getMany(imagesTable, running);
      for (const row of found)
        for (const [name, form] of Object.entries(row.forms)) {
          const format = name as ImageFormat;
          if (form.state === 'ready' && !form.composed)
            kept.push({
              ...{ row, format, derivationId: form.derivationId, size: form.size ?? 0 },
              usedAt: usedAt.get(form.derivationId) ?? Date.parse(form.since),
            });
          const image = form.state === 'running' ? images.get(row.imageId) : undefined;
          if (image) making.set(nameOf(row.imageId, format), storedBound(image, format));
        }
      if (found.length < BATCH) break;
      after = found.at(-1)!.imageId;
    }
    return { kept, making: [...making.values()].reduce((sum, bytes) => sum + bytes, 0) };
  }

  private async drop({ row, format, derivationId }: Kept): Promise<void> {
    const { core, store } = this.context;
    const command = { kind: 'dropDerivation', imageId: row.imageId, derivationId, format } as const;
    await core.commands.execute(imageAggregate, row.imageId, command, serviceContext(derivationId, 'drop'));
    await store.remove(derivationId);
  }
}
