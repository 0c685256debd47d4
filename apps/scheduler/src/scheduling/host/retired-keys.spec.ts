import { type HostId, seconds, unavailable } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Scheduler } from '../../scheduler.js';
import { Simulation } from '../../testing/simulation.js';
import { hostAggregate } from './host-lifecycle.js';
import { RetiredKeys } from './retired-keys.js';

describe('the keys of retired hosts', () => {
  let sim: Simulation;
  let scheduler: Scheduler;
  let part: RetiredKeys;
  let asked: string[][];
  let away: boolean;

  beforeEach(async () => {
    sim = new Simulation();
    scheduler = await sim.scheduler();
    asked = [];
    away = false;
    part = new RetiredKeys(scheduler.core, async (keys) => {
      if (away) throw unavailable('away');
      asked.push([...keys].sort());
    });
  });
  afterEach(async () => {
    await part.stop();
    await sim.stop();
  });

  const retire = async (name: string) => {
    const hostId = (await sim.host(scheduler, name)) as HostId;
    const send = (command: object) =>
      scheduler.core.commands.execute(hostAggregate, hostId, { hostId, ...command } as never, sim.context());
    await send({ type: 'down', session: 1, missedBeats: 3 });
    await send({ type: 'retire' });
    await sim.settle();
  };

  it('are revoked when they retire, and when the scheduler takes over', async () => {
    await retire('a');
    await part.start();
    await sim.settle();
    expect(asked).toEqual([['key-a']]);
    await retire('b');
    expect(asked.at(-1)).toEqual(['key-a', 'key-b']);
    const before = asked.length;
    await sim.clock.advance(seconds(60));
    expect(asked).toHaveLength(before);
  });

  it('are revoked again when the bus is back, and until it works', async () => {
    await part.start();
    away = true;
    await retire('a');
    await sim.clock.advance(seconds(5));
    expect(asked).toEqual([]);
    away = false;
    await sim.clock.advance(seconds(10));
    expect(asked).toEqual([['key-a']]);
    sim.bus.setConnected(false);
    sim.bus.setConnected(true);
    await sim.settle();
    expect(asked).toEqual([['key-a'], ['key-a']]);
  });

  it('of hosts that are there are left alone', async () => {
    await part.start();
    await sim.host(scheduler, 'a');
    await sim.clock.advance(seconds(60));
    expect(asked).toEqual([]);
  });
});
