import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { readJson, writeJson } from '../common/atomic-file.js';
import { FILES } from './command-line.js';
import { GuestDefinition } from './definition.js';

const Stopped = z.object({ bootId: z.string() });

/** Folders of guests: `<dir>/<server id>`. What does not parse as ours is not ours, and left alone. */
export class GuestStore {
  constructor(
    private readonly dir: string,
    private readonly bootId: string,
  ) {
    mkdirSync(dir, { recursive: true, mode: 0o711 });
  }

  /** A path made of nothing but a server id. */
  path(id: ServerId, file = ''): string {
    return join(this.dir, ServerId.parse(id), file);
  }

  ids(): ServerId[] {
    return readdirSync(this.dir).flatMap((name) => {
      const id = ServerId.safeParse(name);
      return id.success ? [id.data] : [];
    });
  }

  read(id: ServerId): GuestDefinition | null {
    const parsed = GuestDefinition.safeParse(readJson(this.path(id, FILES.definition)));
    return parsed.success && parsed.data.mark.serverId === id ? parsed.data : null;
  }

  /** Makes the folder with its mark; both are on the disk when this returns. */
  create(definition: GuestDefinition): void {
    mkdirSync(this.path(definition.mark.serverId), { mode: 0o700 });
    this.write(definition);
    syncFolder(this.dir);
  }

  write(definition: GuestDefinition): void {
    const { serverId } = definition.mark;
    writeJson(this.path(serverId, FILES.definition), definition, true);
    syncFolder(this.path(serverId));
  }

  remove(id: ServerId): void {
    rmSync(this.path(id), { recursive: true, force: true });
  }

  /** Says that the guest's process ends by intent; without it, a process that is gone has crashed. */
  noteStopped(id: ServerId): void {
    writeJson(this.path(id, FILES.stopped), { bootId: this.bootId }, true);
  }

  noteStarted(id: ServerId): void {
    rmSync(this.path(id, FILES.stopped), { force: true });
    writeJson(this.path(id, STARTED), { bootId: this.bootId }, true);
  }

  /** Of a guest without a process: was it switched off, did the host go down under it, or did it crash? */
  restingPower(id: ServerId): 'shutdown' | 'crashed' {
    if (readJson(this.path(id, FILES.stopped)) !== null) return 'shutdown';
    const started = Stopped.safeParse(readJson(this.path(id, STARTED)));
    return started.success && started.data.bootId === this.bootId ? 'crashed' : 'shutdown';
  }
}

const STARTED = 'started.json';

const syncFolder = (path: string) => {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
};
