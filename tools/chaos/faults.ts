import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, family } from '../e2e/running-cloud.js';
import type { ChaosCloud } from './chaos-cloud.js';

/** Something that goes wrong, and is mended. */
export interface Fault {
  readonly name: string;
  /** Whether it lasts until it is mended; else it is over as soon as it has happened. */
  readonly lasts: boolean;
  /** @returns what mends it */
  inflict(chaos: ChaosCloud): Promise<() => Promise<void>>;
}

const SERVICES = [
  'api-gateway-1',
  'api-gateway-2',
  'scheduler',
  'image-service',
  'fake-1',
  'nats',
  'postgres',
] as const;
type Service = (typeof SERVICES)[number];

const pidOf = async ({ cloud }: ChaosCloud, name: Service | 'supervisor'): Promise<number> => {
  const pid = (await cloud.pids())[name];
  if (!pid) throw new Error(`${name} does not run`);
  return pid;
};

/** Waits until a service runs as another process than the one that was ended. */
const startedAgain = async ({ cloud }: ChaosCloud, name: Service, pid: number): Promise<void> => {
  await eventually(
    `${name} was started again`,
    () => cloud.pids(),
    (pids) => (pids[name] ?? 0) > 1 && pids[name] !== pid,
  );
};

const killed = (name: Service): Fault => ({
  name: `kill ${name}`,
  lasts: false,
  inflict: async (chaos) => {
    const pid = await pidOf(chaos, name);
    process.kill(pid, 'SIGKILL');
    return () => startedAgain(chaos, name, pid);
  },
});

/** PostgreSQL is stopped with its children. */
const stopped = (name: Service): Fault => ({
  name: `stop ${name}`,
  lasts: true,
  inflict: async (chaos) => {
    const pids = family(await pidOf(chaos, name));
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    return async () => {
      for (const pid of pids.reverse()) process.kill(pid, 'SIGCONT');
    };
  },
});

/** Ended, and not started again before it is mended; `meanwhile` happens to what it left. */
const away = (name: Service, signal: NodeJS.Signals, meanwhile?: (chaos: ChaosCloud) => void): Fault => ({
  name: meanwhile ? `wipe ${name}` : `away ${name}`,
  lasts: true,
  inflict: async (chaos) => {
    const [supervisor, pid] = [await pidOf(chaos, 'supervisor'), await pidOf(chaos, name)];
    process.kill(supervisor, 'SIGSTOP');
    process.kill(pid, signal);
    return async () => {
      meanwhile?.(chaos);
      process.kill(supervisor, 'SIGCONT');
      await startedAgain(chaos, name, pid);
    };
  },
});

const wiped = away('nats', 'SIGTERM', ({ cloud }) =>
  rmSync(join(cloud.home, 'data', 'nats', 'jetstream'), { recursive: true }),
);

export const FAULTS: readonly Fault[] = [
  ...SERVICES.map(killed),
  ...SERVICES.map(stopped),
  away('postgres', 'SIGKILL'),
  away('nats', 'SIGTERM'),
  wiped,
];
