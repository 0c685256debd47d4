import type { GuestFacts, ImageId } from '@omnivisor/contracts';
import { seconds } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { ovaDisk } from '../forms/ova-disk.js';
import { canRead } from '../forms/qemu-img.js';
import { formOf } from '../forms/stored-form.js';
import { type Taker, Turns } from '../forms/turns.js';
import { guestsTable, type ImageRow, imagesTable } from '../image/image.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import type { Sandbox } from '../sandbox/sandbox.js';
import { serviceContext } from '../service-context.js';
import type { ImageWriter } from '../store/index.js';
import { type Disk, Unreadable } from './disk.js';
import { guestFile, inspectGuest } from './inspect-guest.js';
import { withDisk } from './open-disk.js';
import { readinessOf } from './readiness.js';

const ROUND = seconds(600);
const BATCH = 200;
const TRIES = 3;
/** At one time, besides one that a server waits for. */
const WIDTH = 2;
/** That wait for their turn. */
const AHEAD = 64;

/** Opens the disk in an image for a look. */
export class GuestDisks {
  constructor(
    private readonly context: ImageContext,
    private readonly sandbox: Sandbox,
  ) {}

  /** @throws Unreadable for a disk that cannot be had */
  async look<T>(row: ImageRow, look: (disk: Disk) => Promise<T>): Promise<T> {
    const form = formOf(row);
    const handle = row.uploadId === null ? null : await this.context.store.openFile(row.uploadId);
    if (!handle) throw new Unreadable('its bytes lie in no file');
    try {
      const stretch = form === 'ova' ? await ovaDisk(handle) : undefined;
      if (form === null || !canRead(form) || stretch === null) throw new Unreadable('it has not one disk');
      return await withDisk(this.sandbox, { handle, form, size: row.size!, ...(stretch ? { stretch } : {}) }, look);
    } finally {
      await handle.close();
    }
  }

  /** Copies the guest's kernel or initial RAM disk. */
  async write(row: ImageRow, what: 'aki' | 'ari', to: ImageWriter, signal: AbortSignal): Promise<void> {
    await this.look(row, async (disk) => {
      for await (const part of await guestFile(disk, what)) {
        signal.throwIfAborted();
        await to.write(part);
      }
    });
  }
}

/** A look that is under way, or waits for its turn. */
interface Look {
  first: boolean;
  taker?: Taker;
  readonly done: Promise<void>;
}

/** Looks at the guest of each image once, soon after its bytes came, a few at a time; first where a server waits. */
export class GuestInspections {
  private readonly turns = new Turns({ width: WIDTH, share: WIDTH - 1, reserved: 1, room: AHEAD });
  private readonly tries = new Map<string, number>();
  private readonly pending = new Set<ImageId>();
  private readonly looking = new Map<ImageId, Look>();
  private cancel = () => {};
  private stopped = false;

  constructor(
    private readonly context: ImageContext,
    private readonly disks: GuestDisks,
    private readonly onError: (where: string, error: unknown) => void,
  ) {}

  /** Call before the core starts: it tells of new bytes. The rounds find what nobody was told of. */
  watch(): void {
    this.context.core.observe((event) => {
      if (event.type === 'ImageDataUploaded') this.expect((event.data as { imageId: ImageId }).imageId);
    });
  }

  start(): void {
    const round = () => {
      this.findPending().catch((error) => this.onError('guest inspections', error));
      if (!this.stopped) this.cancel = this.context.core.clock.after(ROUND, round);
    };
    round();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancel();
    await this.underWay();
  }

  /** Resolves when nothing is left to look at; for specs. */
  async idle(): Promise<void> {
    await this.findPending();
    while (this.looking.size > 0) await this.underWay();
  }

  /** Looks at an image before others. Resolves when that was done, or failed; another replica may do it, too. */
  async lookAt(id: ImageId): Promise<void> {
    if (this.stopped) return;
    this.pending.delete(id);
    const look = this.looking.get(id) ?? this.begin(id);
    look.first = true;
    if (look.taker && !look.taker.first) {
      look.taker.first = true;
      this.turns.hurry();
    }
    await look.done;
  }

  private async underWay(): Promise<void> {
    await Promise.all([...this.looking.values()].map((look) => look.done));
  }

  private expect(id: ImageId): void {
    if (!this.looking.has(id)) this.pending.add(id);
    this.goOn();
  }

  private goOn(): void {
    for (const id of this.pending) {
      if (this.stopped || this.looking.size >= AHEAD) return;
      this.pending.delete(id);
      this.begin(id);
    }
  }

  private begin(id: ImageId): Look {
    const work = async () => {
      const row = await this.rowOf(id);
      if (!row) return;
      look.taker = { of: row.owner ?? '', first: look.first };
      await this.turns.take(look.taker, () => this.inspect(id));
    };
    const look: Look = {
      first: false,
      done: Promise.resolve()
        .then(work)
        .catch((error) => this.onError(`look at the guest of image ${id}`, error))
        .finally(() => {
          this.looking.delete(id);
          this.goOn();
        }),
    };
    this.looking.set(id, look);
    return look;
  }

  private async findPending(): Promise<void> {
    let after: string | undefined;
    for (;;) {
      const rows = await this.context.core.fresh();
      const query = { where: { status: 'active' }, limit: BATCH, ...(after === undefined ? {} : { after }) };
      const images = await rows.find(imagesTable, query);
      const known = await rows.getMany(
        guestsTable,
        images.map((row) => row.id),
      );
      for (const row of images) if (!known.has(row.id) && isDisk(row)) this.expect(row.id);
      if (images.length < BATCH || this.stopped) return;
      after = images.at(-1)!.id;
    }
  }

  private async inspect(id: ImageId): Promise<void> {
    const { core } = this.context;
    const row = this.stopped ? undefined : await this.rowOf(id);
    if (!row?.uploadId) return;
    const guest = await this.factsOf(row);
    if (!guest) return;
    const readiness = readinessOf(guest);
    const command = { kind: 'completeInspection', imageId: id, uploadId: row.uploadId, guest, readiness } as const;
    await core.commands.execute(imageAggregate, id, command, serviceContext(row.uploadId, 'inspected'));
  }

  /** An image that has to be looked at. */
  private async rowOf(id: ImageId): Promise<ImageRow | undefined> {
    const rows = await this.context.core.fresh();
    const row = await rows.get(imagesTable, id);
    return row && isUninspected(row) ? row : undefined;
  }

  /** Undefined when another try may do better. */
  private async factsOf(row: ImageRow): Promise<GuestFacts | undefined> {
    try {
      return await this.disks.look(row, inspectGuest);
    } catch (error) {
      if (error instanceof Unreadable) return unknownGuest(error.message);
      const tries = (this.tries.get(row.id) ?? 0) + 1;
      this.onError(`look at the guest of image ${row.id}`, error);
      if (tries >= TRIES) {
        this.tries.delete(row.id);
        return unknownGuest('it could not be looked at');
      }
      this.tries.set(row.id, tries);
      return undefined;
    }
  }
}

/** True for an image whose guest is to be looked at, and was not. */
export const isUninspected = (row: ImageRow): boolean =>
  row.status === 'active' && row.uploadId !== null && row.readiness === undefined && isDisk(row);

const isDisk = (row: ImageRow): boolean => {
  const form = formOf(row);
  return form !== null && canRead(form);
};

const unknownGuest = (unknown: string): GuestFacts => ({
  ...{ partitions: 'none', firmware: [], fileSystems: [], distribution: null, kernel: null },
  ...{ bootDrivers: [], otherDrivers: [], agents: [], unknown },
});
