import type { Instant } from '@omnivisor/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EventStore, LogDamaged, type StoredEvent } from '../event-store.js';
import { MemoryEventStore } from '../memory/index.js';
import { contextOf, newEvent } from '../testing/event-store-suite.js';
import { signCheckpoint } from './checkpoint.js';
import { MemorySealStore } from './memory-seal-store.js';
import { newSeed, signerOf } from './note.js';
import { Sealer } from './sealer.js';
import { verifyConsistency, verifyLog, verifyRange } from './verify.js';

const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
};

const signer = signerOf('cloud.example/log', newSeed());
const keys = [signer.verifier];
let moment = Date.parse('2026-01-01T00:00:00Z');
const clock = {
  now: () => {
    moment += 250;
    return new Date(moment).toISOString() as Instant;
  },
  after: () => () => {},
};

/** A log of `sizes` events, sealed after each of them. */
const sealedLog = async (...sizes: number[]) => {
  let id = 0;
  const store = new MemoryEventStore(clock, {
    ordered: () => `00000000-0000-7000-8000-${String(id++).padStart(12, '0')}`,
  });
  const seals = new MemorySealStore();
  const errors: unknown[] = [];
  const seal = async () => {
    const sealer = new Sealer({
      store,
      seals,
      clock,
      origin: 'cloud.example/log',
      signers: async () => [signer],
      sealed: () => {},
      onError: (error) => errors.push(error),
    });
    sealer.start();
    await sealer.stop();
    return sealer;
  };
  const grow = async (size: number) => {
    for (let n = 0; n < size; n++)
      await store.append(`test-${id}`, -1, [newEvent('Happened', { n, text: `№ ${n}` }, contextOf(`c${id}`))]);
    return seal();
  };
  for (const size of sizes) await grow(size);
  return { store, seals, errors, grow };
};

/** The log as somebody else left it. */
const changed = (events: readonly StoredEvent[]): EventStore =>
  ({
    readStored: async (after: number, limit: number) => {
      const page = events.filter((e) => e.position > after).slice(0, limit);
      for (const [i, event] of page.entries())
        if (event.position !== after + 1 + i) throw new LogDamaged(after + 1 + i);
      return page;
    },
    head: async () => events.at(-1)?.position ?? 0,
  }) as unknown as EventStore;

/** Positions follow each other again, as somebody careful would see to. */
const renumbered = (events: readonly StoredEvent[]): StoredEvent[] =>
  events.map((event, i) => ({ ...event, position: i + 1 }));

describe('verifying a log', () => {
  it('finds nothing where the log is sealed further meanwhile', async () => {
    const { store, seals, grow } = await sealedLog(5, 3);
    const { checkpoints } = seals;
    seals.checkpoints = async (size, limit) => {
      await grow(4);
      return checkpoints.call(seals, size, limit);
    };
    expect(await verifyLog({ store, seals, keys })).toMatchObject({ ok: true, events: 8, checkpoints: 2, unsealed: 4 });
  });

  it('finds nothing where nothing was changed', async () => {
    const { store, seals } = await sealedLog(5, 300, 1);
    await store.append('test-more', -1, [newEvent('Happened')]);
    expect(await verifyLog({ store, seals, keys })).toEqual({
      ok: true,
      events: 306,
      checkpoints: 3,
      unsealed: 1,
      firstBad: null,
      problem: null,
    });
  });

  it('is content with an empty one', async () => {
    const { store, seals } = await sealedLog();
    expect(await verifyLog({ store, seals, keys })).toMatchObject({ ok: true, events: 0, checkpoints: 0 });
  });

  it('finds the first event that was changed, dropped, swapped, put in or cut off', async () => {
    const { store, seals } = await sealedLog(40, 17, 256);
    const events = await store.readStored(0, 1_000);
    const at = fc.nat({ max: events.length - 1 });
    const flipped = (text: string, bit: number): string => {
      const i = bit % text.length;
      const code = text.charCodeAt(i);
      return text.slice(0, i) + String.fromCharCode(code === 0x78 ? 0x79 : 0x78) + text.slice(i + 1);
    };
    const tampering = fc.oneof(
      fc.record({
        how: fc.constant('flip' as const),
        at,
        bit: fc.nat(),
        field: fc.constantFrom('payload', 'meta', 'id', 'type', 'stream', 'recordedAt'),
      }),
      fc.record({ how: fc.constantFrom('drop', 'swap', 'insert', 'truncate', 'revision', 'gap'), at }),
    );
    await fc.assert(
      fc.asyncProperty(tampering, async (what) => {
        const i = what.how === 'swap' ? Math.min(what.at, events.length - 2) : what.at;
        const event = events[i]!;
        const other = [...events];
        switch (what.how) {
          case 'flip':
            other[i] = { ...event, [what.field]: flipped(event[what.field as 'payload'], what.bit) };
            break;
          case 'revision':
            other[i] = { ...event, revision: event.revision + 1 };
            break;
          case 'drop':
          case 'gap':
            other.splice(i, 1);
            break;
          case 'swap':
            other.splice(i, 2, events[i + 1]!, event);
            break;
          case 'insert':
            other.splice(i, 0, { ...event, id: 'ffffffff-0000-7000-8000-000000000000' as never });
            break;
          case 'truncate':
            other.length = i;
        }
        const log = changed(what.how === 'gap' ? other : renumbered(other));
        const report = await verifyLog({ store: log, seals, keys });
        expect(report.ok).toBe(false);
        expect(report.firstBad).toBe(i);
      }),
      { numRuns: 200 },
    );
  });

  it('finds a seal that was made to fit a changed log', async () => {
    const honest = await sealedLog(10, 10);
    const events = await honest.store.readStored(0, 100);
    const store = changed(events.map((e, i) => (i === 12 ? { ...e, payload: '{"n":99}' } : e)));
    const forged = await sealedLog();
    // All of it anew over the changed log, but for the signatures: those need a key.
    const thief = signerOf('cloud.example/log', newSeed());
    const sealer = new Sealer({
      store,
      seals: forged.seals,
      clock,
      origin: 'cloud.example/log',
      signers: async () => [thief],
      sealed: () => {},
      onError: (error) => forged.errors.push(error),
    });
    sealer.start();
    await sealer.stop();
    expect(await verifyLog({ store, seals: forged.seals, keys })).toMatchObject({ ok: false, firstBad: null });
    // With the tiles of the forgery below the signatures of the truth, the events are the first that do not fit.
    forged.seals.kept.splice(0, 1, ...honest.seals.kept);
    expect(await verifyLog({ store, seals: forged.seals, keys })).toMatchObject({ ok: false, firstBad: 10 });
  });

  it('finds by a checkpoint that had left that the log and its seals were cut together', async () => {
    const { store, seals } = await sealedLog(10, 5);
    const later = seals.kept[1]!.note;
    const cut = new MemorySealStore();
    await cut.seal(seals.kept[0]!, [{ level: 0, index: 0, hashes: seals.tiles.get('0/0')!.subarray(0, 320) }]);
    const short = changed((await store.readStored(0, 100)).slice(0, 10));
    expect(await verifyLog({ store: short, seals: cut, keys })).toMatchObject({ ok: true });
    expect(await verifyLog({ store: short, seals: cut, keys }, [later])).toMatchObject({ ok: false, firstBad: 10 });
    expect(await verifyLog({ store, seals: cut, keys }, [later])).toMatchObject({ ok: true, events: 15 });
  });
});

describe('checkpoints that had left', () => {
  it('are of this log, and signed by a key of its own', async () => {
    const { store, seals } = await sealedLog(10);
    const thief = signerOf('elsewhere.example/log', newSeed());
    const both = [...keys, thief.verifier];
    const head = {
      origin: 'elsewhere.example/log',
      size: 4,
      root: Buffer.alloc(32),
      position: 4,
      recordedAt: clock.now(),
    };
    const of = (origin: string) => signCheckpoint({ ...head, origin }, [thief]).note;
    expect(await verifyLog({ store, seals, keys: both }, [of('elsewhere.example/log')])).toMatchObject({
      ok: false,
      firstBad: null,
      problem: 'checkpoint 1 of those given is of another log, elsewhere.example/log',
    });
    expect(await verifyLog({ store, seals, keys: both }, [of('cloud.example/log')])).toMatchObject({
      ok: false,
      firstBad: null,
      problem: 'checkpoint 1 of those given: no key of cloud.example/log has signed it',
    });
  });
});

describe('sealing', () => {
  it('goes on where it was, in batches of 1,000', async () => {
    const { store, seals, grow } = await sealedLog(3);
    await grow(2_100);
    expect(seals.kept.map((c) => c.size)).toEqual([3, 1_003, 2_003, 2_103]);
    expect(await verifyLog({ store, seals, keys })).toMatchObject({ ok: true, events: 2_103 });
  });

  it.each([
    ['is no longer the one that was sealed', 'SealBroken', (events: readonly StoredEvent[]) => events.slice(0, 5)],
    ['has a hole after that', 'LogDamaged', (events: readonly StoredEvent[]) => events.toSpliced(11, 1)],
  ])('stops when the log %s', async (_, name, spoilt) => {
    const { store, seals } = await sealedLog(10);
    for (const stream of ['test-b', 'test-c', 'test-d']) await store.append(stream, -1, [newEvent('Happened')]);
    const short = changed(spoilt(await store.readStored(0, 100)));
    const errors: unknown[] = [];
    const sealer = new Sealer({
      store: short,
      seals,
      clock,
      origin: 'cloud.example/log',
      signers: async () => [signer],
      sealed: () => {},
      onError: (error) => errors.push(error),
    });
    sealer.start();
    await sealer.stop();
    expect(sealer.failure).toMatchObject({ name });
    expect(errors).toEqual([sealer.failure]);
  });
});

describe('proofs', () => {
  it('are given for a range, against the newest checkpoint', async () => {
    const { store, seals } = await sealedLog(4, 9, 20);
    const proofs = await all(verifyRange({ store, seals, keys }, 3, 15));
    expect(proofs.map((p) => p.ordinal)).toEqual(Array.from({ length: 15 }, (_, i) => i + 3));
    expect(proofs.every((p) => p.ok)).toBe(true);
    const events = await store.readStored(0, 100);
    const log = changed(events.map((e, i) => (i === 5 ? { ...e, type: 'Other' } : e)));
    const found = await all(verifyRange({ store: log, seals, keys }, 0, 100));
    expect(found.filter((p) => !p.ok).map((p) => p.ordinal)).toEqual([5]);
  });

  it('end where the log ends early or has a hole, and not as if nothing more had been sealed', async () => {
    const { store, seals } = await sealedLog(4, 9, 20);
    const events = await store.readStored(0, 100);
    const proven = async (log: EventStore, from: number) => {
      const ordinals: number[] = [];
      const reading = async () => {
        for await (const { ordinal, ok } of verifyRange({ store: log, seals, keys }, from, 5))
          if (ok) ordinals.push(ordinal);
      };
      return { ordinals, error: await reading().catch((error: unknown) => error) };
    };
    const short = changed(events.slice(0, 12));
    expect(await proven(short, 5)).toMatchObject({ ordinals: [5, 6, 7, 8, 9], error: undefined });
    expect(await proven(short, 10)).toMatchObject({ ordinals: [10, 11], error: { name: 'NotAsSealed', ordinal: 12 } });
    expect(await proven(short, 20)).toMatchObject({ ordinals: [], error: { name: 'NotAsSealed', ordinal: 20 } });
    const holed = changed(events.filter((_, i) => i !== 12));
    expect(await proven(holed, 5)).toMatchObject({ ordinals: [5, 6, 7, 8, 9], error: undefined });
    expect(await proven(holed, 10)).toMatchObject({ ordinals: [10, 11], error: { name: 'NotAsSealed', ordinal: 12 } });
    expect(await proven(store, 33)).toEqual({ ordinals: [], error: undefined });
  });

  it('say so where the seals lack a hash, or a checkpoint is kept as another than it is', async () => {
    const { store, seals } = await sealedLog(4, 9, 20);
    const [first, , last] = seals.kept.map((k) => k.note) as [string, string, string];
    seals.kept.splice(0, 3, { size: 20, position: 20, note: last });
    await expect(all(verifyRange({ store, seals, keys }, 18, 10))).rejects.toMatchObject({ ordinal: 20 });
    seals.tiles.clear();
    await expect(all(verifyRange({ store, seals, keys }, 3, 5))).rejects.toMatchObject({
      name: 'NotAsSealed',
      ordinal: null,
    });
    seals.kept.splice(0, 1, { size: 33, position: 33, note: last });
    expect(await verifyConsistency({ seals, keys }, [first, last])).toMatchObject({ ok: false });
  });

  it('show that one checkpoint goes on from another', async () => {
    const { seals } = await sealedLog(4, 9, 20);
    const [a, b, c] = seals.kept.map((k) => k.note) as [string, string, string];
    expect(await verifyConsistency({ seals, keys }, [c, a])).toMatchObject({ ok: true });
    const other = await sealedLog(5);
    expect(await verifyConsistency({ seals, keys }, [other.seals.kept[0]!.note, b])).toMatchObject({ ok: false });
  });
});
