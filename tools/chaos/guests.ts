import { existsSync, type FSWatcher, readdirSync, readFileSync, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { FakeGuest } from '../../apps/compute-agent/src/drivers/fake/fake-guest.js';
import type { Deed } from '../simulate/faults/evidence.js';
import type { Found } from './judge.js';

/** A guest was made or removed, as the files of its fake host tell: not what an agent says of it. */
export type Change = Pick<Deed, 'kind' | 'serverId' | 'attempt'> & { readonly host: string };

/** Looks at the guests of fake hosts, and remembers each that was made or removed. */
export class Guests {
  readonly changes: Change[] = [];
  private readonly marks = new Map<string, FakeGuest['mark']>();
  private readonly watchers = new Map<string, FSWatcher>();

  /** @param agents the folder with one folder for each agent */
  constructor(private readonly agents: string) {
    this.watch();
  }

  /** Looks at hosts that have come since, too. */
  watch(): void {
    for (const folder of this.folders()) {
      if (this.watchers.has(folder)) continue;
      const look = (_: string, file: string | null) => file?.endsWith('.json') && this.look(join(folder, file));
      this.watchers.set(folder, watch(folder, look));
    }
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

  /** How many guests each agent has, most first. */
  byAgent(): [agent: string, guests: number][] {
    const counts = this.folders().map((folder): [string, number] => [agentOf(folder), readdirSync(folder).length]);
    return counts.sort(([, one], [, other]) => other - one);
  }

  close(): void {
    for (const watcher of this.watchers.values()) watcher.close();
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
    const host = agentOf(dirname(path));
    for (const [kind, mark] of [['removed', before] as const, ['made', guest?.mark] as const])
      if (mark) this.changes.push({ kind, host, serverId: mark.serverId, attempt: mark.attempt });
    if (guest) this.marks.set(path, guest.mark);
    else this.marks.delete(path);
  }
}

const agentOf = (folder: string) => basename(dirname(folder));

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
