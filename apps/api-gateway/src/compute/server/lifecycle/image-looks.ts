import { DomainError, type ImageId, type ImageReadiness, type ImageSnapshot } from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';

/** Steps that may wait for a look at one time: all servers' steps share the hands of their process. */
const WAITING = 8;
const MAX_REMEMBERED = 1_000;

/** What is known of images that nobody had looked at when their servers were asked for. */
export class ImageLooks {
  private readonly asking = new Map<ImageId, Promise<ImageReadiness | undefined>>();
  /** An image is looked at once. */
  private readonly seen = new LRUCache<ImageId, ImageReadiness>({ max: MAX_REMEMBERED });
  private waiting = 0;

  constructor(private readonly ask: (imageId: ImageId) => Promise<ImageReadiness | undefined>) {}

  /** Where the guest in an image starts, if it was heard here. */
  known(imageId: ImageId): ImageReadiness | undefined {
    return this.seen.get(imageId);
  }

  /**
   * An image as it is known now. What starts of one with a kernel beside its disk is not what lies on the disk.
   * @param waits for the look at one that nobody had looked at
   */
  async at({ uninspected, ...known }: ImageSnapshot, waits: boolean): Promise<ImageSnapshot> {
    if (!uninspected || known.kernel) return known;
    const readiness = waits ? await this.wait(known.id) : this.known(known.id);
    return { ...known, ...(readiness ? { readiness } : {}) };
  }

  /**
   * Waits for the look at an image; all that wait for the same one ask once.
   * @returns undefined when nobody can tell now, or too many wait already
   */
  async wait(imageId: ImageId): Promise<ImageReadiness | undefined> {
    const known = this.known(imageId);
    if (known || this.waiting >= WAITING) return known;
    this.waiting++;
    try {
      return await (this.asking.get(imageId) ?? this.begin(imageId));
    } finally {
      this.waiting--;
    }
  }

  private begin(imageId: ImageId): Promise<ImageReadiness | undefined> {
    const asked = this.look(imageId).finally(() => this.asking.delete(imageId));
    this.asking.set(imageId, asked);
    return asked;
  }

  private async look(imageId: ImageId): Promise<ImageReadiness | undefined> {
    try {
      const readiness = await this.ask(imageId);
      if (readiness) this.seen.set(imageId, readiness);
      return readiness;
    } catch (error) {
      // An image service that is away holds up no server: its guest is as unknown as after a look that takes long.
      if (error instanceof DomainError && error.kind === 'unavailable') return undefined;
      throw error;
    }
  }
}
