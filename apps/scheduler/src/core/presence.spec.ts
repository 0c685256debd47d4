import { schedulerState } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Simulation } from '../testing/simulation.js';

let world: Simulation;
beforeEach(() => {
  world = new Simulation();
});
afterEach(() => world.stop());
const ask = () => world.bus.request(schedulerState, {});

describe('whether there is a scheduler', () => {
  it('is answered by the active one alone, and by the next once it leads', async () => {
    await expect(ask()).rejects.toThrow('nobody answers');
    const first = await world.scheduler();
    await world.scheduler();
    expect(await ask()).toEqual({ decides: true });
    await first.stop();
    await world.settle();
    expect(await ask()).toEqual({ decides: true });
  });

  it('is denied by one that met an event it does not know', async () => {
    await world.scheduler();
    await world.store.append('host-x', -1, [
      { type: 'HostPainted', data: {}, schemaVersion: 1, context: world.context() },
    ]);
    await world.settle();
    expect(await ask()).toEqual({ decides: false });
  });
});
