import type { Position } from '@omnivisor/contracts';
import type { EventStore, StoredEvent } from '../event-store.js';
import { LogDamaged } from '../event-store.js';
import { type Checkpoint, openCheckpoint, type TreeHead } from './checkpoint.js';
import { leafOf } from './leaf.js';
import {
  CompactRange,
  consistencyProof,
  type Hash,
  inclusionProof,
  isConsistent,
  isIncluded,
  rootOf,
} from './merkle.js';
import { NoteError, type NoteVerifier } from './note.js';
import { SealBroken } from './seal-broken.js';
import type { SealStore } from './seal-store.js';
import { HASH_BYTES, TILE_WIDTH, TileSource } from './tiles.js';

export interface SealedLog {
  readonly store: EventStore;
  readonly seals: SealStore;
  readonly keys: readonly NoteVerifier[];
}

export interface VerifyReport {
  readonly ok: boolean;
  /** Events that were compared with the seals. */
  readonly events: number;
  readonly checkpoints: number;
  /** Events of the log that no checkpoint covers yet. */
  readonly unsealed: number;
  /** The first event that is not what was sealed, counted from 0; null when there is none. */
  readonly firstBad: number | null;
  readonly problem: string | null;
}

/** Stops a verification. `ordinal` is null when it is a seal that is wrong, not an event. */
export class NotAsSealed extends Error {
  constructor(
    readonly ordinal: number | null,
    message: string,
  ) {
    super(message);
    this.name = 'NotAsSealed';
  }
}

const PAGE = 1_000;

/** The checkpoints that are kept, then those that came back from outside; one at a time, the smallest first. */
class Heads {
  private page: Checkpoint[] = [];
  private last = 0;
  count = 0;

  /** @param sealed events that are looked at: what is sealed meanwhile is not */
  constructor(
    private readonly log: SealedLog,
    private readonly outside: readonly TreeHead[],
    private readonly sealed: number,
  ) {}

  /** The next checkpoint of at least one event more than the one before. */
  async next(): Promise<TreeHead | undefined> {
    if (this.page.length === 0) this.page = await this.log.seals.checkpoints(this.last, PAGE);
    const kept = this.page.shift();
    if (!kept || kept.size > this.sealed) return undefined;
    this.last = kept.size;
    this.count++;
    const head = opened(kept.note, this.log.keys, `the checkpoint of ${kept.size} events`);
    if (head.size !== kept.size || head.position !== kept.position)
      throw new NotAsSealed(null, `the checkpoint kept for ${kept.size} events speaks of ${head.size}`);
    return head;
  }

  /** Those from outside of exactly `size` events. */
  at(size: number): TreeHead[] {
    return this.outside.filter((head) => head.size === size);
  }
}

const opened = (note: string, keys: readonly NoteVerifier[], what: string): TreeHead => {
  try {
    return openCheckpoint(note, keys);
  } catch (error) {
    if (error instanceof NoteError) throw new NotAsSealed(null, `${what}: ${error.message}`);
    throw error;
  }
};

/** A page of the log, up to where it cannot be read in order: what is before the damage may be wrong earlier. */
const pageAfter = async (
  store: EventStore,
  after: Position,
): Promise<{ readonly events: readonly StoredEvent[]; readonly damage: string | null }> => {
  try {
    return { events: await store.readStored(after, PAGE), damage: null };
  } catch (error) {
    if (!(error instanceof LogDamaged)) throw error;
    const before = error.position - 1 - after;
    return { events: before > 0 ? await store.readStored(after, before) : [], damage: error.message };
  }
};

/**
 * Every event of the log with its number; a page is read while the one before is looked at.
 * @throws NotAsSealed where the log itself cannot be read in order
 */
async function* numbered(store: EventStore): AsyncIterable<readonly [number, StoredEvent]> {
  let ordinal = 0;
  for (let page = pageAfter(store, 0); ; ) {
    const { events, damage } = await page;
    const last = events.at(-1);
    if (last && damage === null) page = pageAfter(store, last.position);
    // Whoever takes the page hears of it.
    page.catch(() => {});
    for (const event of events) yield [ordinal++, event];
    if (damage !== null) throw new NotAsSealed(ordinal, damage);
    if (!last) return;
  }
}

/** The hashes of events as they were sealed, read tile by tile. */
class SealedLeaves {
  private index = -1;
  private tile: Buffer | undefined;

  constructor(private readonly seals: SealStore) {}

  async at(ordinal: number): Promise<Hash | undefined> {
    const index = Math.floor(ordinal / TILE_WIDTH);
    const at = (ordinal % TILE_WIDTH) * HASH_BYTES;
    if (index !== this.index || (this.tile?.length ?? 0) < at + HASH_BYTES) {
      this.index = index;
      this.tile = await this.seals.tile(0, index);
    }
    return this.tile && this.tile.length >= at + HASH_BYTES ? this.tile.subarray(at, at + HASH_BYTES) : undefined;
  }
}

/**
 * Compares the whole log with its seals: every event with the hash it was sealed by, every checkpoint with the tree.
 * @param outside checkpoints that had left the box, as notes
 */
export const verifyLog = async (log: SealedLog, outside: readonly string[] = []): Promise<VerifyReport> => {
  const range = new CompactRange();
  let unsealed = 0;
  let good = 0;
  let heads: Heads | undefined;
  const report = (found: { ordinal: number | null; message: string } | null): VerifyReport => ({
    ok: found === null,
    events: range.size,
    checkpoints: heads?.count ?? 0,
    unsealed,
    firstBad: found?.ordinal ?? null,
    problem: found?.message ?? null,
  });
  try {
    const foreign = outside.map((note, i) => opened(note, log.keys, `checkpoint ${i + 1} of those given`));
    const latest = await log.seals.latest();
    const sealed = latest?.size ?? 0;
    const own = latest
      ? opened(latest.note, log.keys, `the checkpoint of ${sealed} events`).origin
      : foreign[0]?.origin;
    for (const [i, head] of foreign.entries())
      if (head.origin !== own)
        throw new NotAsSealed(null, `checkpoint ${i + 1} of those given is of another log, ${head.origin}`);
    heads = new Heads(log, foreign, sealed);
    const leaves = new SealedLeaves(log.seals);
    const longest = foreign.reduce<TreeHead | undefined>((a, b) => (a && a.size >= b.size ? a : b), undefined);
    let head = await heads.next();
    for await (const [ordinal, event] of numbered(log.store)) {
      if (ordinal >= Math.max(sealed, longest?.size ?? 0)) {
        unsealed++;
        continue;
      }
      const leaf = leafOf(ordinal, event);
      const expected = ordinal < sealed ? await leaves.at(ordinal) : leaf;
      if (!expected?.equals(leaf))
        throw new NotAsSealed(ordinal, `event ${ordinal} (position ${event.position}) is not the one that was sealed`);
      range.append(leaf);
      for (const other of heads.at(range.size)) compare(range, other, good, 'a checkpoint that was given');
      if (head?.size !== range.size) continue;
      compare(range, head, good, 'its checkpoint');
      good = range.size;
      head = await heads.next();
    }
    const wanted = Math.max(sealed, longest?.size ?? 0);
    if (range.size < wanted)
      throw new NotAsSealed(range.size, `the log ends after ${range.size} events, but ${wanted} were sealed`);
    return report(null);
  } catch (error) {
    if (error instanceof NotAsSealed) return report(error);
    throw error;
  }
};

const compare = (range: CompactRange, head: TreeHead, good: number, what: string): void => {
  if (range.root().equals(head.root)) return;
  throw new NotAsSealed(good, `the events from ${good} to ${head.size - 1} are not those of ${what}`);
};

/**
 * Sealed events with their numbers, from `from` on.
 * @throws NotAsSealed where the log ends before its seals do, or cannot be read in order
 */
export async function* sealedEvents(
  { store, seals }: Pick<SealedLog, 'store' | 'seals'>,
  from: number,
): AsyncIterable<readonly [ordinal: number, event: StoredEvent]> {
  const size = (await seals.latest())?.size ?? 0;
  const start = (await seals.upTo('size', from)) ?? { size: 0, position: 0 };
  let ordinal = start.size;
  for (let after = start.position; ordinal < size; ) {
    const { events, damage } = await pageAfter(store, after);
    for (const event of events) {
      if (ordinal >= from && ordinal < size) yield [ordinal, event];
      ordinal++;
    }
    if (ordinal >= size) return;
    const bad = Math.max(ordinal, from);
    if (damage !== null) throw new NotAsSealed(bad, damage);
    const last = events.at(-1);
    if (!last) throw new NotAsSealed(bad, `the log ends before event ${bad}, but ${size} were sealed`);
    after = last.position;
  }
}

/** Why an event must be in the tree that a checkpoint signs. */
export interface Inclusion {
  readonly ordinal: number;
  readonly event: StoredEvent;
  /** From the leaf up. */
  readonly proof: readonly Hash[];
  /** What it leads to, as a note. */
  readonly checkpoint: string;
  readonly ok: boolean;
}

/**
 * Proves events from `from` on, at most `count`, against the newest checkpoint.
 * @throws NotAsSealed where they cannot be read, or the seals have no path for them
 * @throws NoteError when the checkpoint is not to be trusted
 */
export async function* verifyRange(log: SealedLog, from: number, count: number): AsyncIterable<Inclusion> {
  const latest = await log.seals.latest();
  if (!latest || count <= 0) return;
  const head = openCheckpoint(latest.note, log.keys);
  const end = Math.min(head.size, from + count);
  if (from >= end) return;
  const source = new TileSource((level, index) => log.seals.tile(level, index));
  let next = from;
  for await (const [ordinal, event] of sealedEvents(log, from)) {
    const proof = await readable(inclusionProof(source, ordinal, head.size));
    const ok = isIncluded(leafOf(ordinal, event), ordinal, head.size, proof, head.root);
    yield { ordinal, event, proof, checkpoint: latest.note, ok };
    next = ordinal + 1;
    if (next >= end) return;
  }
  throw new NotAsSealed(next, `the checkpoint kept for ${latest.size} events speaks of ${head.size}`);
}

/** @throws NotAsSealed where the seals lack a hash */
const readable = async <T>(hashes: Promise<T>): Promise<T> => {
  try {
    return await hashes;
  } catch (error) {
    if (error instanceof SealBroken) throw new NotAsSealed(null, error.message);
    throw error;
  }
};

/** Whether one checkpoint's log is the beginning of the other's, with the proof. */
export const verifyConsistency = async (
  log: Pick<SealedLog, 'seals' | 'keys'>,
  notes: readonly [string, string],
): Promise<{ readonly ok: boolean; readonly problem: string | null; readonly proof: readonly Hash[] }> => {
  const [older, newer] = notes.map((note) => openCheckpoint(note, log.keys)).sort((a, b) => a.size - b.size) as [
    TreeHead,
    TreeHead,
  ];
  const refused = (problem: string) => ({ ok: false, problem, proof: [] });
  if (older.origin !== newer.origin) return refused('the checkpoints are of two logs');
  const sealed = (await log.seals.latest())?.size ?? 0;
  if (newer.size > sealed) return refused(`${newer.size} events were sealed, but the seals here end at ${sealed}`);
  const source = new TileSource((level, index) => log.seals.tile(level, index));
  try {
    if (!(await rootOf(source, newer.size)).equals(newer.root))
      return refused(`the seals here are not those that the checkpoint of ${newer.size} events signs`);
    const proof = await consistencyProof(source, older.size, newer.size);
    const ok = isConsistent(older, newer, proof);
    return { ok, problem: ok ? null : 'the older checkpoint is not the beginning of the newer', proof };
  } catch (error) {
    if (error instanceof SealBroken) return refused(error.message);
    throw error;
  }
};
