import { type Instant, type RecordedEvent, seconds } from '@omnivisor/contracts';
import { VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { MemoryReadModel } from './memory/index.js';
import { type Process, ProcessRunner, type ProcessRunnerOptions } from './process-manager.js';
import { dueTable, type RowChange, type Table } from './read-model.js';

const setup = (step: Process['step'], options: Partial<ProcessRunnerOptions> = {}, begins?: Process['begins']) => {
  const clock = new VirtualClock();
  const readModel = new MemoryReadModel();
  const errors: unknown[] = [];
  const process: Process = { name: 'build', step, ...(begins ? { begins } : {}) };
  const runner = () =>
    new ProcessRunner(process, readModel, clock, {
      catchUp: async () => {},
      onError: (_, id, error) => errors.push([id, (error as Error).message]),
      random: () => 0.5,
      ...options,
    });
  const change = async (id: string, dueAt: Instant | undefined) => {
    const row = dueAt && { process: 'build', id, dueAt };
    const changes: RowChange[] = [{ table: dueTable as Table<never>, key: `build/${id}`, row }];
    await readModel.advance(async (from) => ({ to: from + 1, changes }));
  };
  const later = (ms: number) => new Date(Date.parse(clock.now()) + ms).toISOString() as Instant;
  return { clock, readModel, errors, runner, change, later };
};

describe('ProcessRunner', () => {
  it('steps when work falls due, not before', async () => {
    const done: string[] = [];
    const t = setup(async (id) => {
      done.push(`${id} ${t.clock.now()}`);
      await t.change(id, undefined);
    });
    await t.change('a', t.later(5_000));
    t.runner().wake();
    await t.clock.advance(seconds(4));
    expect(done).toEqual([]);
    await t.clock.advance(seconds(2));
    expect(done).toEqual(['a 2026-01-01T00:00:05.000Z']);
  });

  describe('when this replica made the work due itself', () => {
    const event = (id: string) => ({ type: 'Asked', data: { id } }) as unknown as RecordedEvent;
    const begins = ({ type, data }: RecordedEvent) => (type === 'Asked' ? (data as { id: string }).id : undefined);

    it('goes on at once, without the worklist', async () => {
      const done: unknown[] = [];
      const t = setup(async (id, cause) => void done.push(id, cause?.type), {}, begins);
      t.readModel.lease = async () => {
        throw new Error('not asked');
      };
      const runner = t.runner();
      runner.appended(event('a'));
      runner.appended({ ...event('b'), type: 'Other' });
      await t.clock.advance(seconds(0));
      expect(done).toEqual(['a', 'Asked']);
      expect(t.errors).toEqual([]);
    });

    it('leaves to the worklist what fails', async () => {
      const causes: unknown[] = [];
      const t = setup(
        async (id, cause) => {
          causes.push(cause?.type);
          if (cause) throw new Error('away');
          await t.change(id, undefined);
        },
        {},
        begins,
      );
      await t.change('a', t.later(2_000));
      const runner = t.runner();
      runner.wake();
      runner.appended(event('a'));
      await t.clock.advance(seconds(3));
      expect(causes).toEqual(['Asked', undefined]);
      expect(t.errors).toEqual([['a', 'away']]);
    });

    it('keeps to its concurrency and to one step of an id at a time, and forgets none', async () => {
      let [running, most] = [0, 0];
      const ids: string[] = [];
      const t = setup(
        async (id) => {
          most = Math.max(most, ++running);
          expect(ids.at(-1)).not.toBe(id);
          ids.push(id);
          await t.clock.sleep(seconds(1));
          running--;
        },
        { concurrency: 2 },
        begins,
      );
      const runner = t.runner();
      for (const id of ['a', 'b', 'c', 'd', 'a']) runner.appended(event(id));
      await t.clock.advance(seconds(10));
      expect(ids.toSorted()).toEqual(['a', 'a', 'b', 'c', 'd']);
      expect(most).toBe(2);
    });
  });

  it('tries a failing step again, with growing pauses', async () => {
    const tries: number[] = [];
    const t = setup(async (id) => {
      tries.push(Date.parse(t.clock.now()) % 1_000_000);
      if (tries.length < 5) throw new Error('not yet');
      await t.change(id, undefined);
    });
    await t.change('a', t.clock.now());
    t.runner().wake();
    await t.clock.runUntil(() => tries.length === 5);
    const start = tries[0]!;
    expect(tries.map((at) => at - start)).toEqual([0, 200, 600, 1_400, 3_000]);
    expect(t.errors).toEqual(Array(4).fill(['a', 'not yet']));
  });

  it('takes up work of a replica that crashed, when its lease has run out', async () => {
    const by: string[] = [];
    const t = setup(async (id) => {
      by.push(id);
      await t.change(id, undefined);
    });
    await t.change('a', t.clock.now());
    // A replica leases and is never heard of again.
    expect(await t.readModel.lease('build', t.clock.now(), t.later(30_000), 1)).toHaveLength(1);
    t.runner().wake();
    await t.clock.advance(seconds(29));
    expect(by).toEqual([]);
    await t.clock.advance(seconds(2));
    expect(by).toEqual(['a']);
  });

  it('takes up at once what was leased again while its step was ending', async () => {
    const steps: string[] = [];
    const t = setup(async (id) => {
      steps.push(t.clock.now());
      if (steps.length === 2) await t.change(id, undefined);
    });
    const runner = t.runner();
    // The lease is given back, but its answer is still on the way when the worklist is looked at.
    const unlease = t.readModel.unlease.bind(t.readModel);
    t.readModel.unlease = async (...given) => {
      await unlease(...given);
      runner.wake();
      await t.clock.sleep(seconds(1));
    };
    await t.change('a', t.clock.now());
    runner.wake();
    await t.clock.runUntil(() => steps.length === 2);
    expect(steps).toEqual(['2026-01-01T00:00:00.000Z', '2026-01-01T00:00:01.000Z']);
  });

  it('does each piece of work in one of two replicas', async () => {
    const done: string[] = [];
    const t = setup(async (id) => {
      done.push(id);
      await t.clock.sleep(seconds(1));
      await t.change(id, undefined);
    });
    for (let n = 0; n < 50; n++) await t.change(`s${n}`, t.clock.now());
    const replicas = [t.runner(), t.runner()];
    for (const replica of replicas) replica.wake();
    await t.clock.advance(seconds(5));
    expect(done.toSorted()).toEqual(Array.from({ length: 50 }, (_, n) => `s${n}`).toSorted());
  });

  it('keeps to its concurrency, and does one step of an id at a time', async () => {
    let running = 0;
    let most = 0;
    const t = setup(
      async (id) => {
        most = Math.max(most, ++running);
        // Outlasts its lease.
        await t.clock.sleep(seconds(8));
        running--;
        await t.change(id, undefined);
      },
      { concurrency: 3, lease: seconds(2) },
    );
    for (let n = 0; n < 7; n++) await t.change(`s${n}`, t.clock.now());
    const runner = t.runner();
    runner.wake();
    const poll = setInterval(() => runner.wake(), 0);
    await t.clock.advance(seconds(60));
    clearInterval(poll);
    expect(most).toBe(3);
    expect(running).toBe(0);
    expect(await t.readModel.nextDue('build')).toBeNull();
  });

  it('does not go round and round when a step changes nothing', async () => {
    let steps = 0;
    const t = setup(async () => {
      steps++;
    });
    await t.change('a', t.clock.now());
    t.runner().wake();
    await t.clock.advance(seconds(60));
    expect(steps).toBeGreaterThan(20);
    expect(steps).toBeLessThan(50);
  });

  it('waits for what runs when it stops, and takes up nothing more', async () => {
    let finished = 0;
    const t = setup(
      async (id) => {
        await t.clock.sleep(seconds(1));
        await t.change(id, undefined);
        finished++;
      },
      { concurrency: 2 },
    );
    for (const id of ['a', 'b', 'c']) await t.change(id, t.clock.now());
    const runner = t.runner();
    runner.wake();
    await t.clock.advance(seconds(0));
    let stopped = false;
    const stopping = runner.stop().then(() => {
      stopped = true;
    });
    await t.clock.advance(seconds(0));
    expect(stopped).toBe(false);
    await t.clock.advance(seconds(60));
    await stopping;
    expect(finished).toBe(2);
  });

  it('outlives a read model that is away', async () => {
    let done = 0;
    const t = setup(async (id) => {
      done++;
      await t.change(id, undefined);
    });
    await t.change('a', t.clock.now());
    const lease = t.readModel.lease.bind(t.readModel);
    t.readModel.lease = async () => {
      throw new Error('away');
    };
    t.runner().wake();
    await t.clock.advance(seconds(3));
    expect(done).toBe(0);
    t.readModel.lease = lease;
    await t.clock.advance(seconds(2));
    expect(done).toBe(1);
  });
});
