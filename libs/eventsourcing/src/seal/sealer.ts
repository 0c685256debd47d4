import type { Milliseconds, Position } from '@omnivisor/contracts';
import { seconds } from '@omnivisor/contracts';
import { type EventStore, LogDamaged, type StoredEvent } from '../event-store.js';
import { type Checkpoint, signCheckpoint } from './checkpoint.js';
import { leafOf } from './leaf.js';
import { CompactRange } from './merkle.js';
import type { NoteSigner } from './note.js';
import { SealBroken } from './seal-broken.js';
import type { SealStore } from './seal-store.js';
import { TileSource, TileWriter } from './tiles.js';

export interface SealerOptions {
  readonly store: EventStore;
  readonly seals: SealStore;
  /** Name of the log in its checkpoints. */
  readonly origin: string;
  /** Who signs now; asked before each checkpoint. */
  readonly signers: () => Promise<readonly NoteSigner[]>;
  readonly clock: { after(duration: Milliseconds, action: () => void): () => void };
  /** Told of each new checkpoint, after it is kept. */
  readonly sealed: (checkpoint: Checkpoint) => void;
  readonly onError: (error: unknown) => void;
}

/** A checkpoint covers at most so many new events. */
const MAX_EVENTS = 1_000;
const PAGE = 250;
const INTERVAL = seconds(1);

/** Where the sealed part of the log ends, with what is needed to go on. */
interface Edge {
  readonly position: Position;
  readonly range: CompactRange;
  readonly tiles: TileWriter;
}

/**
 * Seals the log: numbers its events, hashes them into a Merkle tree and signs checkpoints, every second or 1,000 events.
 * It reads what has been appended and stands in nobody's way. Several may run; each seals the same log.
 */
export class Sealer {
  /** Set when it stopped for good: the log is not what was sealed, or has a hole in what is to be. */
  failure: SealBroken | LogDamaged | undefined;
  private edge: Edge | undefined;
  private running: Promise<void> | undefined;
  private timer: (() => void) | undefined;
  private stopped = true;

  constructor(private readonly options: SealerOptions) {}

  start(): void {
    this.stopped = false;
    this.run();
  }

  /** The log has grown, at least to `position`. */
  wake(position: Position): void {
    if (this.stopped || this.failure) return;
    // Positions may have holes, so that this may be early; never late.
    if (this.edge && position - this.edge.position >= MAX_EVENTS) this.run();
    else this.timer ??= this.options.clock.after(INTERVAL, () => this.run());
  }

  /** Seals what there is, and ends. */
  async stop(): Promise<void> {
    this.run();
    this.stopped = true;
    await this.running;
    this.timer?.();
  }

  private run(): void {
    if (this.stopped || this.failure || this.running) return;
    this.timer?.();
    this.timer = undefined;
    this.running = this.drain()
      .catch((error) => {
        this.edge = undefined;
        if (error instanceof SealBroken || error instanceof LogDamaged) this.failure = error;
        this.options.onError(error);
        this.timer ??= this.options.clock.after(INTERVAL, () => this.run());
      })
      .finally(() => {
        this.running = undefined;
      });
  }

  private async drain(): Promise<void> {
    while ((await this.step()) === MAX_EVENTS);
  }

  /** @returns how many events were sealed */
  private async step(): Promise<number> {
    const { store, seals, origin } = this.options;
    this.edge ??= await this.lookUp();
    const { range, tiles } = this.edge;
    const before = range.size;
    let last: StoredEvent | undefined;
    while (range.size - before < MAX_EVENTS) {
      // In small pages: others wait for this process meanwhile.
      const events = await store.readStored(
        last?.position ?? this.edge.position,
        Math.min(PAGE, MAX_EVENTS - (range.size - before)),
      );
      for (const event of events)
        range.append(leafOf(range.size, event), (level, index, hash) => tiles.add(level, index, hash));
      last = events.at(-1) ?? last;
      if (events.length < PAGE) break;
    }
    if (!last) {
      if (this.edge.position > (await store.head()))
        throw new SealBroken(`the log ends before position ${this.edge.position}, which was sealed`);
      return 0;
    }
    const checkpoint = signCheckpoint(
      { origin, size: range.size, root: range.root(), position: last.position, recordedAt: last.recordedAt },
      await this.options.signers(),
    );
    await seals.seal(checkpoint, tiles.take());
    this.edge = { position: last.position, range, tiles };
    this.options.sealed(checkpoint);
    return range.size - before;
  }

  private async lookUp(): Promise<Edge> {
    const { seals } = this.options;
    const { size, position } = (await seals.latest()) ?? { size: 0, position: 0 };
    const read = (level: number, index: number) => seals.tile(level, index);
    const range = await CompactRange.of(new TileSource(read), size);
    return { position, range, tiles: await TileWriter.of(read, size) };
  }
}
