import type { hostBus } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import type { ServerRow } from '../server/view/server.projection.js';
import type { HostRow } from './host.projection.js';
import { isAskedFor } from './host-change.js';

const host = { id: 'h', quarantine: {} } as unknown as HostRow;
const server = (change: object = {}): ServerRow =>
  ({
    id: 's',
    onHost: 'h',
    placement: { host: 'h', attempt: 2 },
    spawned: true,
    deleteRequested: false,
    operation: { generation: 7, kind: 'stop', done: false },
    ...change,
  }) as unknown as ServerRow;
const asked = (kind: string, row: ServerRow | undefined, more: object = {}, on: HostRow = host) =>
  isAskedFor(
    {
      kind,
      serverId: 's',
      attempt: 2,
      generation: 7,
      portId: 'p',
      change: 'detach',
      ...more,
    } as unknown as hostBus.HostChange,
    on,
    row,
  );

const wired = server({ interfaces: [{ portId: 'p', change: 'detach', since: null }] });
const unspawned = server({ spawned: false });
const tombstone = server({ deleteRequested: true });
const given = server({ deleteRequested: true, releaseRequested: true });
const kinds = ['spawn', 'plug', 'operate', 'interface', 'destroy', 'discard', 'release'];

describe('a change that a host is about to make', () => {
  it.each([
    ['spawn', unspawned],
    ['plug', server()],
    ['operate', server()],
    ['interface', wired],
    ['destroy', tombstone],
    ['release', given],
  ])('is confirmed while the log asks for it: %s', (kind, row) => expect(asked(kind, row)).toBe(true));

  it.each([
    ['a spawn of what was spawned', 'spawn', server(), {}],
    ['a spawn of what was deleted', 'spawn', server({ spawned: false, deleteRequested: true }), {}],
    ['ports of what was deleted', 'plug', tombstone, {}],
    ['an operation that is settled', 'operate', server({ operation: { generation: 7, done: true } }), {}],
    ['an operation that a newer one has replaced', 'operate', server(), { generation: 6 }],
    ['an operation on what was deleted', 'operate', tombstone, {}],
    ['an interface that nobody asked for', 'interface', server(), { portId: 'p', change: 'attach' }],
    ['an interface that was asked for otherwise', 'interface', wired, { portId: 'p', change: 'attach' }],
    ['a destroy without a tombstone', 'destroy', server(), {}],
    ['a destroy of what is given back, as an older agent may ask for', 'destroy', given, {}],
    ['a release of what was deleted', 'release', tombstone, {}],
    ['a discard that nobody decided', 'discard', undefined, {}],
  ])('is refused: %s', (_, kind, row, more) => expect(asked(kind, row, more)).toBe(false));

  it.each(kinds)('is refused for a server that the log does not know: %s', (kind) =>
    expect(asked(kind, undefined)).toBe(false),
  );
  it.each(kinds)('is refused for another attempt than the log places: %s', (kind) =>
    expect([server(), unspawned, tombstone].some((row) => asked(kind, row, { attempt: 1 }))).toBe(false),
  );
  it.each(kinds)('is refused for a server of another host: %s', (kind) =>
    expect([server(), unspawned, tombstone].some((row) => asked(kind, { ...row, onHost: 'other' } as ServerRow))).toBe(
      false,
    ),
  );

  it('may discard the guest that an operator gave up, unless the log asks for it after all', () => {
    const quarantine = { s: { attempt: 2, reason: '', verdict: 'discard' as const } };
    const on = { id: 'h', quarantine } as unknown as HostRow;
    expect(asked('discard', undefined, {}, on)).toBe(true);
    expect(asked('discard', server({ placement: { host: 'h', attempt: 3 } }), {}, on)).toBe(true);
    expect(asked('discard', server(), {}, on)).toBe(false);
    expect(asked('discard', server({ spawned: false }), {}, on)).toBe(true);
    const migration = { kind: 'live-migration', status: 'post-migrating' };
    expect(asked('discard', server({ spawned: false, migration }), {}, on)).toBe(false);
    expect(asked('discard', undefined, { attempt: 3 }, on)).toBe(false);
    const kept = { id: 'h', quarantine: { s: { ...quarantine.s, verdict: 'keep' } } } as unknown as HostRow;
    expect(asked('discard', undefined, {}, kept)).toBe(false);
  });
});
