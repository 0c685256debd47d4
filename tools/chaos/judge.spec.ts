import type { RecordedEvent } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { noGuestDestroyedWithoutTombstone } from '../simulate/faults/invariants.js';
import { deedsOf } from './deeds.js';
import { broken, lost, twice, unequal } from './judge.js';

/** A log of `[type, stream, data, requestId, commandId]`. */
const logOf = (...lines: [string, string, object?, string?, string?][]): RecordedEvent[] => {
  const revisions = new Map<string, number>();
  return lines.map(([type, stream, data = {}, requestId = '', commandId = `c-${requestId}-${type}`], i) => {
    const revision = (revisions.get(stream) ?? -1) + 1;
    revisions.set(stream, revision);
    return { id: `e${i + 1}`, type, stream, revision, position: i + 1, data, context: { requestId, commandId } };
  }) as never;
};
const made = (attempt: number) => ({ serverId: 'a', attempt, host: 'fake-1' }) as never;

const built = [
  ['ServerCreateRequested', 'server-a', {}, 'req-1'],
  ['ServerSpawned', 'server-a', { attempt: 1 }, 'req-1'],
] as [string, string, object, string][];

describe('judging what a fault has left', () => {
  it('misses an accepted request that is not in the log', () => {
    const stop = { kind: 'stop', serverId: 'a', requestId: 'req-2' } as const;
    expect(lost(logOf(...built), [stop], [])).toHaveLength(1);
    expect(lost(logOf(...built, ['ServerStopRequested', 'server-a', {}, 'req-2']), [stop], [])).toEqual([]);
    expect(lost(logOf(...built, ['ServerStopRequested', 'server-b', {}, 'req-2']), [stop], [])).toHaveLength(1);
  });

  it('takes a second request to delete for the first one', () => {
    const again = { kind: 'delete', serverId: 'a', requestId: 'req-3' } as const;
    expect(lost(logOf(...built, ['ServerDeleteRequested', 'server-a', {}, 'req-2']), [again], [])).toEqual([]);
    expect(lost(logOf(...built), [again], [])).toHaveLength(1);
  });

  it('misses an event that was shown, and finds another in its place', () => {
    const log = logOf(...built);
    expect(lost(log, [], [{ id: 'e2', position: 2 }])).toEqual([]);
    expect(lost(log, [], [{ id: 'e9', position: 2 }])).toHaveLength(1);
    expect(lost(log, [], [{ id: 'e3', position: 3 }])).toHaveLength(1);
  });

  it('finds what was done twice', () => {
    const stop: [string, string, object, string] = ['ServerStopRequested', 'server-a', { generation: 1 }, 'req-2'];
    const stopped: [string, string, object, string] = ['ServerStopped', 'server-a', { generation: 1 }, 'req-2'];
    const log = logOf(...built, stop, stopped);
    expect(twice(log, [made(1)])).toEqual([]);
    expect(twice(log, [made(1), made(2)])).toEqual([]);
    expect(twice(log, [made(1), made(1)])).toHaveLength(1);
    expect(twice(logOf(...built, [...built[1]!, 'other']), [])).toHaveLength(1);
    expect(twice(logOf(...built, stop, [...stop, 'other']), [])).toHaveLength(1);
    expect(twice(logOf(...built, stop, stopped, [...stopped, 'other']), [])).toHaveLength(1);
  });

  it('takes the events of one command for one, unless others are between them', () => {
    const event = (stream: string): [string, string, object, string, string] => ['X', stream, {}, '', 'command'];
    expect(twice(logOf(event('server-a'), event('server-a'), event('server-b')), [])).toEqual([]);
    expect(twice(logOf(event('server-a'), event('server-b'), event('server-a')), [])).toHaveLength(1);
  });

  it('finds a gap, and a line that was another one before', () => {
    const log = logOf(...built);
    expect(broken(log, log)).toEqual([]);
    expect(broken(log.slice(1), [])).not.toEqual([]);
    expect(broken(log.slice(0, 1), log)).toHaveLength(1);
    expect(broken(log, [log[0]!, { ...log[1]!, id: 'e9' as never }])).toHaveLength(1);
  });

  it('compares what the log asks for with servers and guests', () => {
    const running = [{ serverId: 'a', power: 'running' }] as const;
    const off = [{ serverId: 'a', power: 'shutdown' }] as const;
    const stop: [string, string] = ['ServerStopRequested', 'server-a'];
    const gone: [string, string] = ['ServerDeleteRequested', 'server-a'];
    const failed: [string, string] = ['ServerActionFailed', 'server-a'];
    const broke: [string, string] = ['ServerBuildFailed', 'server-a'];
    expect(unequal(logOf(...built), running, running)).toEqual([]);
    expect(unequal(logOf(...built), running, [])).toHaveLength(1);
    expect(unequal(logOf(...built, stop), off, off)).toEqual([]);
    expect(unequal(logOf(...built, stop), off, running)).toHaveLength(1);
    expect(unequal(logOf(...built, stop, failed), running, running)).toEqual([]);
    expect(unequal(logOf(...built, gone), [], [])).toEqual([]);
    expect(unequal(logOf(['ServerCreateAbandoned', 'server-a']), [], [])).toEqual([]);
    expect(unequal(logOf(...built, gone), [], running)).toHaveLength(1);
    expect(unequal(logOf(...built, broke), [{ serverId: 'a', power: 'other' }], [])).toEqual([]);
    expect(unequal(logOf(), running, [])).toHaveLength(1);
  });
});

describe('what hosts made and removed', () => {
  const host = '0c2c7a4e-52a3-4b8e-8f4d-000000000001';
  const scheduled = { host, providerId: host, attempt: 1 };
  const enrolled: [string, string, object] = ['HostEnrolled', `host-${host}`, { hostId: host, name: 'fake-1' }];
  const placed: [string, string, object] = ['ServerScheduled', 'server-a', scheduled];
  const asked: [string, string, object] = ['ServerDeleteRequested', 'server-a', { serverId: 'a' }];
  const gone: [string, string, object] = ['ServerGuestAbsent', 'server-a', scheduled];
  const removed = { kind: 'removed', serverId: 'a', attempt: 1, host: 'fake-1' } as never;
  const judged = (...lines: [string, string, object][]) =>
    noGuestDestroyedWithoutTombstone({
      liedAbout: new Set(),
      deeds: deedsOf(logOf(enrolled, placed, ...lines), [removed]),
    } as never);

  it('is judged by what the log asked for until the host said that nothing was left', () => {
    expect(judged(asked)).toEqual([]);
    expect(judged(asked, gone)).toEqual([]);
    expect(judged()).toHaveLength(1);
    expect(judged(gone, asked)).toHaveLength(1);
  });

  it('is of hosts that the log knows', () =>
    expect(() => deedsOf(logOf(placed), [removed])).toThrow('does not know the host fake-1'));
});
