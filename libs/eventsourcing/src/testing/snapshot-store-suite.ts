import type { EventId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Snapshot, SnapshotStore } from '../snapshot/snapshot-store.js';

export interface SnapshotsUnderTest {
  /** Of one fold, in a version of its code. The same name and version mean the same snapshot. */
  store(name: string, version: string): Promise<SnapshotStore>;
  close(): Promise<void>;
}

const snapshot = (position: number, ...parts: string[]): Snapshot => ({
  position,
  eventId: `event-${position}` as EventId,
  parts,
});

export const describeSnapshotStore = (name: string, start: () => Promise<SnapshotsUnderTest>): void => {
  describe(`snapshots in ${name}`, () => {
    let tested: SnapshotsUnderTest;
    beforeAll(async () => {
      tested = await start();
    }, 60_000);
    afterAll(() => tested?.close());

    const plain = async (store: SnapshotStore) => {
      const found = await store.load();
      return found && { ...found, parts: [...found.parts] };
    };

    it('are none at first', async () => {
      expect(await (await tested.store('none', '1')).load()).toBeUndefined();
    });

    it('come back as they were saved, the newest one only', async () => {
      const store = await tested.store('newest', '1');
      await store.save(snapshot(7, '["ü"]', '"\\u0000"', '[]'));
      await store.save(snapshot(5, '[1]', '[2]'));
      expect(await plain(store)).toEqual(snapshot(5, '[1]', '[2]'));
      expect(await plain(await tested.store('newest', '1'))).toEqual(snapshot(5, '[1]', '[2]'));
    });

    it('of another fold, or another version of it, are not seen', async () => {
      const store = await tested.store('one', '1');
      await store.save(snapshot(1, 'one'));
      expect(await (await tested.store('one', '2')).load()).toBeUndefined();
      expect(await (await tested.store('two', '1')).load()).toBeUndefined();
      await (await tested.store('one', '2')).save(snapshot(2, 'two'));
      expect(await plain(store)).toEqual(snapshot(1, 'one'));
    });

    it('that fail while they are written leave the one before', async () => {
      const store = await tested.store('failing', '1');
      await store.save(snapshot(1, 'whole'));
      const failing = function* () {
        yield 'half';
        throw new Error('no more');
      };
      await expect(store.save({ ...snapshot(2), parts: failing() })).rejects.toThrow('no more');
      expect(await plain(store)).toEqual(snapshot(1, 'whole'));
    });
  });
};
