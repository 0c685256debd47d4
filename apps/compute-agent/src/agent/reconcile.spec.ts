import { describe, expect, it } from 'vitest';
import type { FoundGuest } from '../drivers/hypervisor-driver.js';
import { type DesiredServer, nextAction } from './reconcile.js';

const wanted = (change: Partial<DesiredServer> = {}): DesiredServer =>
  ({
    serverId: 's',
    attempt: 2,
    tombstone: false,
    spawned: true,
    power: 'running',
    operation: null,
    ...change,
  }) as DesiredServer;
const guest = (power: FoundGuest['power'] = 'running', attempt = 2, build = 0): FoundGuest =>
  ({ mark: { cloudId: 'c', serverId: 's', attempt, build }, power, stage: 'settled' }) as FoundGuest;

describe('closing the difference', () => {
  it('leaves alone what is as wanted', () => expect(nextAction(wanted(), guest())).toBeNull());
  it('spawns an attempt that was never spawned', () =>
    expect(nextAction(wanted({ spawned: false }), undefined)).toEqual({ kind: 'spawn' }));
  it('touches nothing of a server that another host has, until its tombstone', () => {
    for (const part of ['kept', 'incoming'] as const)
      for (const found of [undefined, guest('shutdown')]) expect(nextAction(wanted({ part }), found)).toBeNull();
    for (const part of ['kept', 'incoming'] as const)
      expect(nextAction(wanted({ part }), guest('running', 3))).toMatchObject({ kind: 'quarantine' });
    expect(nextAction(wanted({ part: 'kept', tombstone: true }), guest('shutdown'))).toEqual({ kind: 'destroy' });
  });
  it('accepts a guest that has come by itself, and never makes it', () => {
    const coming = wanted({ spawned: false, arrivesBy: 'copied' });
    expect(nextAction(coming, { ...guest('noState'), stage: 'incoming' })).toEqual({ kind: 'accept' });
    expect(nextAction(coming, guest('shutdown'))).toEqual({ kind: 'reportSpawned' });
    expect(nextAction(coming, undefined)).toEqual({ kind: 'reportMissing' });
  });
  it('makes nothing in the place of what is on its way, or has come, and an older log does not know', () => {
    const shell = { ...guest('noState'), stage: 'incoming' } as FoundGuest;
    expect(nextAction(wanted({ spawned: false }), shell)).toMatchObject({
      kind: 'quarantine',
      reason: expect.stringContaining('a shell, or a guest that has come and was not accepted, is here'),
    });
    expect(nextAction(wanted({ spawned: false }), shell, 2)).toEqual({ kind: 'discard', attempt: 2 });
  });
  it('goes on with a guest on its way from another host that a crash left half made', () =>
    expect(nextAction(wanted({ spawned: false }), { ...guest('noState', 2, 5), stage: 'building' })).toEqual({
      kind: 'spawn',
    }));
  it('never re-makes a spawned guest that is missing', () =>
    expect(nextAction(wanted(), undefined)).toEqual({ kind: 'reportMissing' }));
  it('reports a guest whose spawn was not heard of', () =>
    expect(nextAction(wanted({ spawned: false }), guest())).toEqual({ kind: 'reportSpawned' }));
  it('goes on with a guest that a crash left half made', () =>
    expect(nextAction(wanted({ spawned: false }), guest('shutdown'))).toEqual({ kind: 'spawn' }));
  it.each([guest('paused'), guest('suspended'), guest('shutdown', 2, 5), { ...guest('shutdown'), stage: 'resized' }])(
    'spawns nothing over a guest that has lived, although the log may be an older one: %j',
    (found) => expect(nextAction(wanted({ spawned: false }), found as FoundGuest)).toEqual({ kind: 'reportSpawned' }),
  );
  it('gives an adopted guest back, and never destroys it for that', () => {
    const going = wanted({ release: true });
    expect(nextAction(going, guest())).toEqual({ kind: 'release' });
    expect(nextAction(going, undefined)).toEqual({ kind: 'reportAbsent' });
    expect(nextAction(going, guest('running', 3))?.kind).toBe('quarantine');
  });
  it('reports an adopted guest that is off as it is', () => {
    const adopted = wanted({ spawned: false, adoption: { nativeId: 'vm' } });
    expect(nextAction(adopted, guest('shutdown'))).toEqual({ kind: 'reportSpawned' });
    expect(nextAction(adopted, undefined)).toEqual({ kind: 'spawn' });
  });
  it('destroys on a tombstone', () =>
    expect(nextAction(wanted({ tombstone: true }), guest())).toEqual({ kind: 'destroy' }));
  it('confirms a tombstone when nothing is there', () =>
    expect(nextAction(wanted({ tombstone: true }), undefined)).toEqual({ kind: 'reportAbsent' }));
  it('does not destroy a newer attempt than the tombstone names', () =>
    expect(nextAction(wanted({ tombstone: true }), guest('running', 3))?.kind).toBe('quarantine'));
  it('does not destroy what is merely not asked for', () =>
    expect(nextAction(undefined, guest())?.kind).toBe('quarantine'));
  it('leaves another attempt alone, and reports that the one that is wanted is missing', () => {
    const other = guest('running', 3);
    const told = (change: Partial<DesiredServer>) => nextAction(wanted(change), other);
    expect(told({})).toMatchObject({ kind: 'quarantine', report: { kind: 'reportMissing' } });
    expect(told({ operation: { generation: 3, kind: 'stop', done: false } })).toMatchObject({
      kind: 'quarantine',
      report: { kind: 'failOperation', operation: 'stop', generation: 3 },
    });
    expect(told({ spawned: false })).not.toHaveProperty('report');
    expect(told({ tombstone: true })).not.toHaveProperty('report');
    expect(nextAction(wanted(), other, 3)).toEqual({ kind: 'discard', attempt: 3 });
  });
  it('carries out an operation that is open', () =>
    expect(nextAction(wanted({ operation: { generation: 3, kind: 'stop', done: false } }), guest())).toEqual({
      kind: 'operate',
      operation: 'stop',
      generation: 3,
    }));
  it('takes a hypervisor that cannot say the power for no news', () =>
    expect(nextAction(wanted(), guest('noState'))).toBeNull());
  it('reports a power that nobody asked for, and does not undo it', () =>
    expect(nextAction(wanted(), guest('shutdown'))).toEqual({ kind: 'reportPower' }));
});
