import type { ServerEvent, ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { MigrationConsumers } from './migration-consumers.js';

const happened = (...events: readonly (readonly [string, object?])[]) => {
  const consumers = new MigrationConsumers();
  for (const [type, data] of events) consumers.apply({ type, data: { serverId: 's', ...data } } as ServerEvent);
  /** Under whom the claims 1 and 2 are shown, as far as they are there. */
  return (...claims: number[]) =>
    claims.map((attempt) => consumers.consumerOf('s' as ServerId, attempt, (other) => claims.includes(other)) ?? 's');
};
const asked = [
  ['ServerMigrateRequested', { migrationId: 'm' }],
  ['ServerMigrationScheduled', { attempt: 2 }],
] as const;
const live = [['ServerLiveMigrateRequested', { migrationId: 'm' }], asked[1]] as const;
const resized = [
  ['ServerResizeRequested', { migrationId: 'm' }],
  ['ServerResizeScheduled', { attempt: 2 }],
] as const;

describe('claims of a server that moves', () => {
  it('are its own until it has a place', () => expect(happened(asked[0])(1)).toEqual(['s']));
  it.each([asked, live, resized])('are its own where it goes, and its migration’s where it comes from', (...events) => {
    expect(happened(...events)(1, 2)).toEqual(['m', 's']);
    expect(happened(...events, ['ServerMigrationConfirmed'])(1, 2)).toEqual(['m', 's']);
  });
  it('are its own when the other one has ended', () => {
    expect(happened(...asked)(1)).toEqual(['s']);
    expect(happened(...asked, ['ServerMigrationConfirmed'])(2)).toEqual(['s']);
  });
  it.each([
    [asked, ['ServerResizeRevertRequested']],
    [asked, ['ServerMigrationFailed']],
    [live, ['ServerActionFailed', { action: 'live-migration' }]],
  ] as const)('change places when it goes back', (events, back) =>
    expect(happened(...events, back as [string])(1, 2)).toEqual(['s', 'm']),
  );
  it('stay as they are when something else fails, or a host is only late', () => {
    for (const data of [{ action: 'reboot' }, { action: 'live-migration', unheard: true }])
      expect(happened(...live, ['ServerActionFailed', data])(1, 2)).toEqual(['m', 's']);
  });
  it('are those of the newest migration', () => {
    const again = [
      ['ServerMigrateRequested', { migrationId: 'n' }],
      ['ServerMigrationScheduled', { attempt: 3 }],
    ] as const;
    expect(happened(...asked, ['ServerMigrationConfirmed'], ...again)(2, 3)).toEqual(['n', 's']);
  });
});
