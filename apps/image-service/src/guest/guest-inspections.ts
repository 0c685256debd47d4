import type { GuestFacts, ImageId } from '@omnivisor/contracts';
import { ms, seconds } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { type Taker, Turns } from '../forms/turns.js';
import { guestsTable, type ImageRow, imagesTable } from '../image/image.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import { ToolFailed } from '../sandbox/sandbox.js';
import { serviceContext } from '../service-context.js';
import { Unfinished, Unreadable } from './disk.js';
import { diskForm, type GuestDisks } from './guest-disks.js';
import { LOOK_LIMITS } from './open-disk.js';
import { readinessOf } from './readiness.js';

const ROUND = seconds(600);
const BATCH = 200;
const TRIES = 3;
/** A look that began so short a time ago may be under way in another replica; one that failed is not begun again so soon. */
const UNDER_WAY = ms(LOOK_LIMITS.wall + 60_000);
/** How long, and how often, one that another replica is at is waited for. */
const PATIENCE = seconds(5);
const AGAIN = ms(200);
const NOT_LOOKED_AT = 'it could not be looked at';
/** At one time, besides one that a server waits for. */
const WIDTH = 2;
/** That wait for their turn. */
const AHEAD = 64;

/** A look that is under way, or waits for its turn. */
interface Look {
  first: boolean;
  taker?: Taker;
  /** Another replica may be at it. */
  elsewhere?: boolean;
  readonly done: Promise<void>;
}

/** Looks at the guest of each image once, soon after its bytes came, a few at a time; first where a server waits. */
export class GuestInspections {
  private readonly turns = new Turns({ width: WIDTH, share: WIDTH - 1, reserved: 1, room: AHEAD });
  private readonly pending = new Set<ImageId>();
  private readonly looking = new Map<ImageId, Look>();
  /** The last try that failed here: nobody is at it. */
  private readonly failed = new Map<ImageId, number>();
  private readonly ending = new AbortController();
  private cancel = () => {};

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
    this.ending.abort();
    this.cancel();
    await this.underWay();
  }

  /** Resolves when nothing is left to look at; for specs. */
  async idle(): Promise<void> {
    await this.findPending();
    while (this.looking.size > 0) await this.underWay();
  }

  /** Looks at an image before others. Resolves when that was done, or failed, here or soon in another replica. */
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
    if (look.elsewhere) await this.doneElsewhere(id);
  }

  private async doneElsewhere(id: ImageId): Promise<void> {
    const { clock } = this.context.core;
    const deadline = Date.parse(clock.now()) + PATIENCE;
    while (!this.stopped && Date.parse(clock.now()) < deadline && (await this.rowOf(id)))
      await clock.sleep(AGAIN, this.ending.signal);
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
      await this.turns.take(look.taker, () => this.inspect(id, look));
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
      for (const row of images) if (!known.has(row.id) && this.disks.canLook(row)) this.expect(row.id);
      if (images.length < BATCH || this.stopped) return;
      after = images.at(-1)!.id;
    }
  }

  private async inspect(id: ImageId, look: Look): Promise<void> {
    const { core } = this.context;
    const row = this.stopped ? undefined : await this.rowOf(id);
    if (!row?.uploadId) return;
    const { looks } = row;
    const recent = looks !== undefined && Date.parse(core.clock.now()) - Date.parse(looks.lastAt) < UNDER_WAY;
    const count = looks?.count ?? 0;
    const givenUp = count >= TRIES;
    if (recent || (!givenUp && !(await this.begun(row, count)))) {
      look.elsewhere = this.failed.get(id) !== count;
      return;
    }
    const guest = givenUp ? unknownGuest(NOT_LOOKED_AT) : await this.factsOf(row, count + 1);
    if (!guest) return;
    this.failed.delete(id);
    const readiness = readinessOf(guest);
    const command = { kind: 'completeInspection', imageId: id, uploadId: row.uploadId, guest, readiness } as const;
    await core.commands.execute(imageAggregate, id, command, serviceContext(row.uploadId, 'inspected'));
  }

  /** Counts the look in the log, so that one that ends its process is not begun for ever. False when another began it. */
  private async begun(row: ImageRow, looks: number): Promise<boolean> {
    const { commands, ids } = this.context.core;
    const command = { kind: 'startInspection', imageId: row.id, uploadId: row.uploadId!, looks } as const;
    const context = serviceContext(row.uploadId!, `look-${ids.uuid()}`);
    return (await commands.execute(imageAggregate, row.id, command, context)).events.length > 0;
  }

  /** An image that has to be looked at, and can be here. */
  private async rowOf(id: ImageId): Promise<ImageRow | undefined> {
    const rows = await this.context.core.fresh();
    const row = await rows.get(imagesTable, id);
    return row && isUninspected(row) && this.disks.canLook(row) ? row : undefined;
  }

  /** Undefined when another try may do better. */
  private async factsOf(row: ImageRow, tries: number): Promise<GuestFacts | undefined> {
    try {
      return await this.disks.facts(row, this.ending.signal);
    } catch (error) {
      if (error instanceof Unreadable && !(error instanceof Unfinished)) return unknownGuest(error.message);
      if (this.stopped) return undefined;
      this.onError(`look at the guest of image ${row.id}`, error);
      if (tries >= TRIES) return unknownGuest(whyNot(error));
      this.failed.set(row.id, tries);
      return undefined;
    }
  }

  private get stopped(): boolean {
    return this.ending.signal.aborted;
  }
}

/** True for an image whose guest is to be looked at, and was not. */
export const isUninspected = (row: ImageRow): boolean =>
  row.status === 'active' && row.uploadId !== null && row.readiness === undefined && diskForm(row) !== null;

const whyNot = (error: unknown): string => {
  if (error instanceof Unfinished) return error.message;
  return error instanceof ToolFailed ? `${NOT_LOOKED_AT} (${error.status})` : NOT_LOOKED_AT;
};

const unknownGuest = (unknown: string): GuestFacts => ({
  ...{ partitions: 'none', firmware: [], fileSystems: [], distribution: null, kernel: null },
  ...{ bootDrivers: [], otherDrivers: [], agents: [], unknown },
});
