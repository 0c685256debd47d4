import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { readJson, writeJson } from '../common/atomic-file.js';
import { GuestDefinition } from './definition.js';
import { FILES } from './files.js';

const Stopped = z.object({ bootId: z.string() });

/** Folders of guests: `<dir>/<server id>`. What does not parse as ours is not ours, and left alone. */
export class GuestStore {
  constructor(
    private readonly dir: string,
    private readonly bootId: string,
  ) {
    mkdirSync(dir, { recursive: true, mode: 0o711 });
    for (const name of readdirSync(dir))
      if (name.startsWith(UNFINISHED)) rmSync(join(dir, name), { recursive: true, force: true });
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

  /** Makes the folder with its mark in it, and what else it needs, at once or not at all; it is on the disk afterwards. */
  create(definition: GuestDefinition, furnish: (folder: string) => void = () => {}): void {
    const making = join(this.dir, `${UNFINISHED}${definition.mark.serverId}`);
    rmSync(making, { recursive: true, force: true });
    mkdirSync(making, { mode: 0o700 });
    furnish(making);
    writeJson(join(making, FILES.definition), definition, true);
    syncFolder(making);
    renameSync(making, this.path(definition.mark.serverId));
    syncFolder(this.dir);
  }

  write(definition: GuestDefinition): void {
    const { serverId } = definition.mark;
    writeJson(this.path(serverId, FILES.definition), definition, true);
    syncFolder(this.path(serverId));
  }

  /** The mark goes together with the rest: what is left after a crash is no guest any more. */
  remove(id: ServerId): void {
    const removing = join(this.dir, `${UNFINISHED}${ServerId.parse(id)}`);
    rmSync(removing, { recursive: true, force: true });
    try {
      renameSync(this.path(id), removing);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    rmSync(removing, { recursive: true, force: true });
  }

  /** Says that the guest's process ends by intent; without it, a process that is gone has crashed. */
  noteStopped(id: ServerId): void {
    writeJson(this.path(id, FILES.stopped), { bootId: this.bootId }, true);
  }

  noteStarted(id: ServerId): void {
    rmSync(this.path(id, FILES.stopped), { force: true });
    writeJson(this.path(id, FILES.started), { bootId: this.bootId }, true);
  }

  /** Of a guest without a process: was it switched off, did the host go down under it, or did it crash? */
  restingPower(id: ServerId): 'shutdown' | 'crashed' {
    if (readJson(this.path(id, FILES.stopped)) !== null) return 'shutdown';
    const started = Stopped.safeParse(readJson(this.path(id, FILES.started)));
    return started.success && started.data.bootId === this.bootId ? 'crashed' : 'shutdown';
  }
}

/** Folders that are being made or removed; none of them has a process. */
const UNFINISHED = '.unfinished-';

export const syncFolder = (path: string) => {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
};
