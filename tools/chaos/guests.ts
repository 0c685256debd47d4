import { existsSync, type FSWatcher, readdirSync, readFileSync, watch } from 'node:fs';
import { basename, join } from 'node:path';
import type { FakeGuest } from '../../apps/compute-agent/src/drivers/fake/fake-guest.js';
import type { Deed } from '../simulate/faults/evidence.js';
import type { Found } from './judge.js';

/** A guest was made or removed, as the files of its fake host tell: not what an agent says of it. */
export type Change = Pick<Deed, 'kind' | 'serverId' | 'attempt'> & { readonly host: string };

/** Looks at the guests of fake hosts, and remembers each that was made or removed. */
export class Guests {
  readonly changes: Change[] = [];
  private readonly marks = new Map<string, FakeGuest['mark']>();
  private readonly watchers: FSWatcher[];

  /** @param agents the folder with one folder for each agent */
  constructor(private readonly agents: string) {
    this.watchers = this.folders().map((folder) =>
      watch(folder, (_, file) => {
        if (file?.endsWith('.json')) this.look(join(folder, file));
      }),
    );
  }

  /** What all hosts have now. */
  now(): Found[] {
    return this.folders().flatMap((folder) =>
      readdirSync(folder)
        .filter((file) => file.endsWith('.json'))
        .flatMap((file) => {
          const guest = read(join(folder, file));
          return guest ? [{ serverId: guest.mark.serverId, power: powerOf(guest) }] : [];
        }),
    );
  }

  close(): void {
    for (const watcher of this.watchers) watcher.close();
  }

  private folders(): string[] {
    return readdirSync(this.agents)
      .map((agent) => join(this.agents, agent, 'fake-guests'))
      .filter((folder) => existsSync(folder));
  }

  private look(path: string): void {
    const guest = read(path);
    const before = this.marks.get(path);
    if (before?.attempt === guest?.mark.attempt) return;
    const host = basename(join(path, '../..'));
    for (const [kind, mark] of [['removed', before] as const, ['made', guest?.mark] as const])
      if (mark) this.changes.push({ kind, host, serverId: mark.serverId, attempt: mark.attempt });
    if (guest) this.marks.set(path, guest.mark);
    else this.marks.delete(path);
  }
}

const read = (path: string): FakeGuest | null => {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as FakeGuest;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
};

const powerOf = ({ power }: FakeGuest): Found['power'] =>
  power === 'running' || power === 'shutdown' ? power : 'other';
