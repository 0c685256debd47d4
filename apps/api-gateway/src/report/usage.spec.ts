import type { Instant, RecordedEvent, ServerEvent } from '@omnivisor/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { history } from '../compute/server/lifecycle/server.fixtures.js';
import { userContext } from '../core/gateway-core.fixtures.js';
import { licenceLines, type Stretch, UsageFold, usageLines } from './usage.js';

const START = Date.parse('2026-03-01T00:00:00.000Z');
const HOUR = 3_600_000;
const { host } = history;

/** A log of one server's events, each at so many hours after the start. */
const log = (serverId: string, steps: readonly (readonly [hours: number, ServerEvent])[]): RecordedEvent[] =>
  steps.map(([hours, event], i) => ({
    ...event,
    data: { ...event.data, serverId },
    id: `00000000-0000-4000-8000-${String(i).padStart(12, '0')}` as never,
    stream: `server-${serverId}`,
    revision: i,
    position: i + 1,
    schemaVersion: 1,
    recordedAt: new Date(START + hours * HOUR).toISOString() as Instant,
    context: userContext(),
  }));
const created = (vcpus: number, osType?: string): ServerEvent => ({
  type: 'ServerCreateRequested',
  data: {
    ...history.request,
    flavor: { ...history.request.flavor, vcpus },
    image: { ...history.request.image, properties: osType === undefined ? {} : { os_type: osType } },
  },
});
const reported = (type: string, power: string): ServerEvent =>
  ({ type, data: { host, attempt: 1, generation: 1, power, bootId: 'b' } }) as never;
const stopRequested = { type: 'ServerStopRequested', data: { generation: 1 } } as ServerEvent;
const deleteRequested = { type: 'ServerDeleteRequested', data: {} } as ServerEvent;
const deleted = { type: 'ServerDeleted', data: { at: '', hostConfirmed: true } } as unknown as ServerEvent;
const life = (vcpus: number, osType?: string) =>
  [
    [0, created(vcpus, osType)],
    [0, history.portsAllocated],
    [0, history.scheduled()],
    [1, history.spawned],
    [3, stopRequested],
    [3, reported('ServerStopped', 'shutdown')],
    [7, deleteRequested],
    [8, deleted],
  ] as const;

const stretchesOf = (events: readonly RecordedEvent[], from = 0, to = 100): Stretch[] => {
  const stretches: Stretch[] = [];
  const fold = new UsageFold(START + from * HOUR, START + to * HOUR, (s) => stretches.push(s));
  for (const event of [...events].sort((a, b) => (a.recordedAt < b.recordedAt ? -1 : 1))) fold.apply(event);
  fold.finish();
  return stretches;
};

describe('usage', () => {
  it('counts cores from spawning to deletion, and of these the running ones', () => {
    const [line] = usageLines(stretchesOf(log('a', life(4, 'windows'))));
    expect(line).toMatchObject({ project: 'p1', host: 'compute-1', hypervisor: 'unknown', osType: 'windows' });
    expect(line).toMatchObject({ servers: 1, coreHours: 28, runningCoreHours: 8, memoryGibHours: 0.875 });
  });

  it('counts what lies within the period only, also of what never ended', () => {
    expect(usageLines(stretchesOf(log('a', life(1)), 2, 4))[0]).toMatchObject({ coreHours: 2, runningCoreHours: 1 });
    expect(usageLines(stretchesOf(log('a', life(1).slice(0, 4)), 0, 11))[0]).toMatchObject({ coreHours: 10 });
    expect(usageLines(stretchesOf(log('a', life(1)), 9, 20))).toEqual([]);
    expect(usageLines(stretchesOf(log('a', life(1).slice(0, 3))))).toEqual([]);
  });

  it('does not depend on where a period is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 4 }),
        fc.nat(1_000),
        (cores, cut) => {
          const events = cores.flatMap((vcpus, i) =>
            log(
              `s${i}`,
              life(vcpus).map(([h, e]) => [h + i / 2, e] as const),
            ),
          );
          const at = cut / 100;
          const sum = (from: number, to: number) =>
            usageLines(stretchesOf(events, from, to)).reduce((n, l) => n + l.coreHours, 0);
          expect(sum(0, at) + sum(at, 20)).toBeCloseTo(sum(0, 20), 4);
          expect(sum(0, 20)).toBeCloseTo(7 * cores.reduce((a, b) => a + b, 0), 4);
        },
      ),
    );
  });
});

describe('licences', () => {
  it('are counted by the most cores that ran at one time', () => {
    const later = (hours: number, vcpus: number) => life(vcpus, 'windows').map(([h, e]) => [h + hours, e] as const);
    const events = [...log('a', later(0, 2)), ...log('b', later(1, 3)), ...log('c', later(2, 1)), ...log('d', life(9))];
    expect(licenceLines(stretchesOf(events))).toMatchObject([
      { osType: 'unknown', peakCores: 9 },
      { osType: 'windows', servers: 3, peakCores: 5, peakServers: 2, peakAt: '2026-03-01T02:00:00.000Z' },
    ]);
  });
});
