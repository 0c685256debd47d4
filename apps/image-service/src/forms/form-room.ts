import { type ImageFormat, type ImageId, seconds, unavailable } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { type FormsRow, formsTable } from '../image/forms.projection.js';
import { imagesTable } from '../image/image.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import { serviceContext } from '../service-context.js';
import { storedBound } from './stored-form.js';
import type { Taker } from './turns.js';

const BATCH = 500;
/** Whoever waited for a form has come for it by then. One for a host may be larger than all that are to be kept. */
const JUST_USED = seconds(600);

interface Kept {
  readonly row: FormsRow;
  readonly format: ImageFormat;
  readonly derivationId: string;
  readonly size: number;
  readonly usedAt: number;
}

/** What forms take: those that are kept, and the most that those being made for users may come to. */
interface Taken {
  readonly kept: readonly Kept[];
  readonly forUsers: number;
}

/** Who a form is made for: a host when it goes first, which it may come to do meanwhile. */
type For = Pick<Taker, 'first'>;

export const noRoom = (cause?: unknown) =>
  unavailable('There is no room to convert the image now. Please try again later.', cause);

/** Of all room, what the conversions of users may take together: the rest is there for hosts. */
export const usersShare = (room: number): number => room / 2;

const nameOf = (imageId: string, format: ImageFormat) => `${imageId}/${format}`;

/**
 * Keeps derived forms within bounds: those long unused go, and the least recently used while all are too large.
 * Originals stay. What is being made counts by the most it can become, for an image says nothing true of that: that of
 * users together is at most their share, and for hosts the store's disk alone is the bound.
 */
export class FormRoom {
  /** What this process makes, or is about to. */
  private readonly mine = new Map<string, { readonly bytes: number; readonly maker: For }>();

  constructor(private readonly context: ImageContext) {}

  /**
   * Takes room for a form before it is made; forms that were not used for long go for it.
   * @param bytes the most it may become
   * @param maker whom it is made for
   * @returns gives the room back: when the form is there, or was given up
   * @throws DomainError `unavailable` when there is not so much
   */
  async take(imageId: ImageId, format: ImageFormat, bytes: number, maker: For): Promise<() => void> {
    if (bytes === 0) return () => {};
    const name = nameOf(imageId, format);
    this.mine.set(name, { bytes, maker });
    try {
      await this.collect(bytes, maker);
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
  async collect(wanted = 0, maker: For = {}): Promise<void> {
    const { core, settings, store } = this.context;
    const { kept, forUsers } = await this.taken();
    const droppable = kept.reduce((sum, k) => sum + k.size, 0);
    let total = droppable + forUsers;
    let lacking = 0;
    if (wanted > 0) {
      const free = await store.free();
      lacking = wanted - free;
      // Of the disk, too: one that is smaller than the bound would be all theirs.
      const share = usersShare(Math.min(settings.formsCapacity, free + total - wanted));
      if (lacking > droppable || (!maker.first && forUsers > share)) throw noRoom();
    }
    const now = Date.parse(core.clock.now());
    for (const one of [...kept].sort((a, b) => a.usedAt - b.usedAt)) {
      const unused = now - one.usedAt;
      const fits = total <= settings.formsCapacity || (wanted === 0 && unused < JUST_USED);
      if (unused <= settings.formsMaxAge && fits && lacking <= 0) break;
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
    const others = new Map<string, number>();
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
          const making = nameOf(row.imageId, format);
          // Nobody knows here whom another replica makes it for.
          if (image && !this.mine.has(making)) others.set(making, storedBound(image, format));
        }
      if (found.length < BATCH) break;
      after = found.at(-1)!.imageId;
    }
    const own = [...this.mine.values()].filter(({ maker }) => !maker.first).map(({ bytes }) => bytes);
    return { kept, forUsers: [...own, ...others.values()].reduce((sum, bytes) => sum + bytes, 0) };
  }

  private async drop({ row, format, derivationId }: Kept): Promise<void> {
    const { core, store } = this.context;
    const command = { kind: 'dropDerivation', imageId: row.imageId, derivationId, format } as const;
    await core.commands.execute(imageAggregate, row.imageId, command, serviceContext(derivationId, 'drop'));
    await store.remove(derivationId);
  }
}
