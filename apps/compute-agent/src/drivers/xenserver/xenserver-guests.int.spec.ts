import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { which } from '../../../../../tools/services/process.mjs';
import { describeRebuilding } from '../conformance/areas/rebuilding.js';
import { describeRescuing } from '../conformance/areas/rescuing.js';
import { describeResizing } from '../conformance/areas/resizing.js';
import { describeSnapshots } from '../conformance/areas/snapshots.js';
import { describeSuspending } from '../conformance/areas/suspending.js';
import { Results } from '../conformance/results.js';
import { never, Stage } from '../conformance/stage.js';
import { PoolUnderTest } from './testing/pool-under-test.js';
import { SerialLine } from './testing/serial-line.js';

/**
 * What concerns bytes and memory, over guests that really run; the rest of the suite runs over records of guests.
 * They are paravirtual because those have a serial line, by which one talks to them.
 */
describe.skipIf(!which('qemu-system-x86_64'))(
  'guests of a pool that run in QEMU (needs qemu-system-x86_64)',
  async () => {
    const pool = await PoolUnderTest.start({ guests: 'qemu', shutdownPatience: 2_000 }, 'paravirtual');
    const { inside } = new SerialLine(pool);
    const under = pool.underTest(['pausing', 'suspending', 'rebuilding', 'rescuing', 'resizing', 'snapshots'], inside);
    const stage = new Stage(under, new Results(under));
    beforeAll(() => stage.open());
    afterAll(async () => {
      await stage.close();
      await pool.stop();
    });

    describeSuspending(stage);
    describeRebuilding(stage);
    describeRescuing(stage);
    describeResizing(stage);
    describeSnapshots(stage);

    it('go to another pool with their memory and disk', async () => {
      const other = await PoolUnderTest.start({ guests: 'qemu' }, 'paravirtual');
      const there = new SerialLine(other).inside;
      const [source, target] = [pool.open(), other.open()];
      const spec = await stage.up();
      await inside.memory!.write(spec.id, 'M');
      await inside.disk!.write(spec.id, 0, 'D');
      const offer = await source.liveMigration.offer(spec.id);
      const ticket = await target.liveMigration.receive(spec, offer, { disks: 'copied', attached: [] }, never);
      await source.liveMigration.send(spec.id, ticket, { signal: never });
      await target.liveMigration.accept(spec.id);
      await stage.discard(spec.id);
      expect(await there.memory!.read(spec.id)).toBe('M');
      await target.reboot(spec.id, 'hard', spec.nics);
      await there.up(spec.id);
      expect(await there.disk!.read(spec.id, 0)).toBe('D');
      await target.destroy(spec.id);
      for (const driver of [source, target]) await driver.close();
      await other.stop();
    });
  },
);
