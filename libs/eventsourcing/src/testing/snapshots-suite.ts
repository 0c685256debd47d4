import type { EventId } from '@omnivisor/contracts';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Snapshot, SnapshotStore, Snapshots } from '../snapshot/snapshot-store.js';

const snapshot = (position: number, ...parts: string[]): Snapshot => ({
  position,
  eventId: `event-${position}` as EventId,
  parts,
});

export const describeSnapshots = (name: string, start: () => Promise<Snapshots>): void => {
  describe(`snapshots in ${name}`, () => {
    let tested: Snapshots;
    beforeAll(async () => {
      tested = await start();
    }, 60_000);

    const plain = async (store: SnapshotStore) => {
      const found = await store.load();
      return found && { ...found, parts: [...found.parts] };
    };

    it('are none at first', async () => {
      expect(await tested.of('none', '1').load()).toBeUndefined();
    });

    it('come back as they were saved, the newest one only', async () => {
      const store = tested.of('newest', '1');
      await store.save(snapshot(7, '["ü"]', '"\\u0000"', '[]'));
      await store.save(snapshot(5, '[1]', '[2]'));
      expect(await plain(store)).toEqual(snapshot(5, '[1]', '[2]'));
      expect(await plain(tested.of('newest', '1'))).toEqual(snapshot(5, '[1]', '[2]'));
    });

    it('of another fold, or another version of it, are not seen', async () => {
      const store = tested.of('one', '1');
      await store.save(snapshot(1, 'one'));
      expect(await tested.of('one', '2').load()).toBeUndefined();
      expect(await tested.of('two', '1').load()).toBeUndefined();
      await tested.of('one', '2').save(snapshot(2, 'two'));
      expect(await plain(store)).toEqual(snapshot(1, 'one'));
    });

    it('that fail while they are written leave the one before', async () => {
      const store = tested.of('failing', '1');
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
