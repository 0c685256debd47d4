import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { ServerId } from '@omnivisor/contracts';
import { TINY_GUEST_LETTER } from '../../common/tiny-guest.js';
import type { Inside } from '../../conformance/driver-under-test.js';
import type { PoolUnderTest } from './pool-under-test.js';

/** Guests that are records keep a letter in memory, and have the disks of their VM. */
export const recordInside = (pool: PoolUnderTest): Inside & Required<Pick<Inside, 'memory' | 'disk'>> => {
  const live = (id: ServerId) => {
    const { guests } = pool.double;
    if (!('guests' in guests)) throw new Error('the guests are no records');
    const guest = guests.guests.get(pool.vmOf(id).uuid);
    if (!guest) throw new Error(`server ${id} does not run`);
    return guest;
  };
  const disk = (id: ServerId, n: number) =>
    live(id)
      .spec.disks.filter(({ cd }) => !cd)
      .sort((a, b) => Number(a.device) - Number(b.device))[n];
  return {
    up: async (id) => void live(id),
    switchOff: async (id) => pool.double.stopFromInside(pool.vmOf(id).uuid, 'shutdown'),
    ignorePowerButton: async (id) => pool.double.ignorePowerButton(pool.vmOf(id).uuid),
    memory: {
      write: async (id, letter) => {
        live(id).memory = letter;
      },
      read: async (id) => live(id).memory,
    },
    disk: {
      write: async (id, n, letter) => {
        const target = disk(id, n);
        if (target?.path && !target.readOnly) writeLetter(target.path, letter);
      },
      read: async (id, n) => letterAt(disk(id, n)?.path ?? null),
    },
  };
};

/** What a tiny guest reads from its disk. */
export const letterAt = (path: string | null): string => {
  if (path === null) return '';
  const byte = Buffer.alloc(1);
  const file = openSync(path, 'r');
  readSync(file, byte, 0, 1, TINY_GUEST_LETTER);
  closeSync(file);
  return byte.toString('latin1');
};

const writeLetter = (path: string, letter: string): void => {
  const file = openSync(path, 'r+');
  writeSync(file, letter, TINY_GUEST_LETTER, 'latin1');
  closeSync(file);
};
