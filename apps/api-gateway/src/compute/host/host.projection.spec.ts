import type { RecordedEvent } from '@omnivisor/contracts';
import { expect, it } from 'vitest';
import { type HostRow, hostProjection } from './host.projection.js';

const after = (...events: readonly [type: string, data: object][]): HostRow['quarantine'] =>
  events.reduce<HostRow | undefined>(
    (row, [type, data]) =>
      hostProjection.evolve(row, { type, data: { hostId: 'h', serverId: 's', ...data } } as RecordedEvent, 'h'),
    { id: 'h', quarantine: {} } as unknown as HostRow,
  )!.quarantine;
const found = (attempt: number, reason = 'r'): [string, object] => ['HostQuarantineReported', { attempt, reason }];
const settled = (verdict: string): [string, object] => ['HostQuarantineSettled', { verdict }];

it('keeps what an operator said of a guest in quarantine when its host reports it again', () =>
  expect(after(found(2), settled('discard'), found(2, 'other'))).toEqual({
    s: { attempt: 2, reason: 'other', verdict: 'discard' },
  }));
it.each(['discard', 'keep'])(
  'asks an operator anew of another guest of the server in quarantine, after: %s',
  (verdict) =>
    expect(after(found(2), settled(verdict), found(3))).toEqual({ s: { attempt: 3, reason: 'r', verdict: null } }),
);
