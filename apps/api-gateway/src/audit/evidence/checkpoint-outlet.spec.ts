import { ms } from '@omnivisor/contracts';
import type { Checkpoint } from '@omnivisor/eventsourcing/seal';
import { VirtualClock } from '@omnivisor/platform/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { CheckpointOutlet } from './checkpoint-outlet.js';

const checkpoint = (size: number): Checkpoint => ({ size, position: size, note: `${size}\n` });
let clock: VirtualClock;
let arrived: number[];
let errors: string[];
let broken: boolean;
let outlet: CheckpointOutlet;
beforeEach(() => {
  clock = new VirtualClock();
  [arrived, errors, broken] = [[], [], false];
  const put = async ({ size }: Checkpoint) => {
    if (broken) throw new Error('away');
    arrived.push(size);
  };
  outlet = new CheckpointOutlet({ name: 'place', every: ms(5_000), put }, clock, (where) => errors.push(where));
});

describe('a place for checkpoints', () => {
  it('gets the newest at most once in its time', async () => {
    for (const size of [1, 2, 3]) outlet.send(checkpoint(size));
    await clock.advance(ms(4_000));
    expect(arrived).toEqual([1]);
    await clock.advance(ms(2_000));
    expect(arrived).toEqual([1, 3]);
    await clock.advance(ms(60_000));
    expect(arrived).toEqual([1, 3]);
    expect(outlet.sent).toBe(3);
  });

  it('gets it when it is back', async () => {
    broken = true;
    outlet.send(checkpoint(1));
    await clock.advance(ms(15_000));
    expect(errors).toEqual(['checkpoint to place', 'checkpoint to place']);
    broken = false;
    outlet.send(checkpoint(2));
    await clock.advance(ms(10_000));
    expect(arrived).toEqual([2]);
  });

  it('gets what waits when the service stops', async () => {
    outlet.send(checkpoint(1));
    outlet.send(checkpoint(2));
    await outlet.stop();
    expect(arrived).toEqual([1, 2]);
  });
});
