import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ServerId } from '@omnivisor/contracts';
import { readJson, writeJson } from '../common/atomic-file.js';
import type { FakeGuest } from './fake-guest.js';

/** Guests of a fake machine on disk, one file each, so that a change costs the same with one guest and with thousands. */
export class FakeGuestFiles {
  constructor(private readonly dir: string) {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  load(): Map<ServerId, FakeGuest> {
    const guests = new Map<ServerId, FakeGuest>();
    for (const file of readdirSync(this.dir)) {
      const id = ServerId.safeParse(file.replace(/\.json$/, ''));
      if (!file.endsWith('.json') || !id.success) continue;
      const guest = readJson(join(this.dir, file)) as FakeGuest | null;
      if (guest) guests.set(id.data, guest);
    }
    return guests;
  }

  save(guest: FakeGuest): void {
    writeJson(this.path(guest.mark.serverId), guest);
  }

  remove(id: ServerId): void {
    rmSync(this.path(id), { force: true });
  }

  private path(id: ServerId): string {
    return join(this.dir, `${ServerId.parse(id)}.json`);
  }
}
