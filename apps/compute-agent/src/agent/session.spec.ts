import { hostBus, type ServerId, seconds } from '@omnivisor/contracts';
import { MemoryBus, VirtualClock } from '@omnivisor/platform/testing';
import { describe, expect, it } from 'vitest';
import { NotAskedFor, Session } from './session.js';

type Answer = (changes: readonly hostBus.HostChange[]) => Promise<boolean[]>;

const under = async (answer: Answer) => {
  const clock = new VirtualClock();
  const bus = new MemoryBus(clock);
  const asked: number[] = [];
  await bus.respond(hostBus.confirm, async ({ session, changes }) => {
    if (session !== 7) throw hostBus.sessionEnded(session, 7);
    asked.push(changes.length);
    return { confirmed: await answer(changes) };
  });
  const open = (number = 7) => new Session({ bus, clock, hostId: 'h' }, number);
  return { clock, asked, open };
};
const destroy = (n: number) =>
  ({
    kind: 'destroy',
    serverId: `0c2c7a4e-52a3-4b8e-8f4d-00000000000${n}` as ServerId,
    attempt: 1,
  }) as const;
const never = new AbortController().signal;
const yes: Answer = async (changes) => changes.map(() => true);

describe('leave to change something', () => {
  it('is asked for many together while one question is under way', async () => {
    const { asked, open } = await under(yes);
    const session = open();
    await Promise.all([1, 2, 3, 4].map((n) => session.leaveFor(destroy(n), never).step()));
    expect(asked).toEqual([1, 3]);
  });

  it('counts for a few seconds, then it is asked for again', async () => {
    const { clock, asked, open } = await under(yes);
    const leave = open().leaveFor(destroy(1), never);
    await leave.step();
    await leave.step();
    expect(asked).toHaveLength(1);
    await clock.advance(seconds(4));
    await leave.step();
    expect(asked).toHaveLength(2);
  });

  it('is not given for what the log does not ask for, whatever the others get', async () => {
    const { open } = await under(async (changes) => changes.map((c) => c.serverId !== destroy(2).serverId));
    const session = open();
    const results = await Promise.allSettled([1, 2, 3].map((n) => session.leaveFor(destroy(n), never).step()));
    expect(results.map((r) => r.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: expect.any(NotAskedFor) });
  });

  it('ends the session when another one has the host, and nothing is asked any more', async () => {
    const { asked, open } = await under(yes);
    const session = open(6);
    await expect(session.leave().step()).rejects.toMatchObject({ name: 'HostSessionEnded' });
    expect(session.signal.aborted).toBe(true);
    expect(session.signal.reason.details).toEqual({ superseded: true });
    await expect(session.leaveFor(destroy(1), never).step()).rejects.toMatchObject({ name: 'HostSessionEnded' });
    expect(asked).toEqual([]);
  });

  it('comes to nothing when the work was given up meanwhile', async () => {
    const abort = new AbortController();
    const { open } = await under(async (changes) => {
      abort.abort(new Error('given up'));
      return yes(changes);
    });
    await expect(open().leaveFor(destroy(1), abort.signal).step()).rejects.toThrow('given up');
  });
});
